"""The built-in image: a small Debian with systemd, made on the host from Debian's own packages."""
