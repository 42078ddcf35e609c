"""What the built-in image is made of. Data only: its digest is the image's digest, so any change here is a new image.

Boot time decides what is masked. Under software emulation a unit that does nothing costs 30–100 ms, and an untrimmed
minbase waits 90 s for a serial terminal that no udev announces. Measured with one vCPU: from the switch to the root to
`running` in 1.3 s instead of 4.7 s (without the wait). Everything masked is either about hardware, logins and
encryption that a microVM does not have, about kernel modules (the image has none), or about a clock and a disk that a
suspended and forked machine does not share with the unit's author.
"""

import hashlib
import json

SUITE = "bookworm"

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libnss-myhostname",  # the hostname resolves, whatever the agent sets it to: sudo waits for that
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "ca-certificates",
    "curl",
    "wget",
    "openssh-client",
    "git",
    "python3",
    "python3-pip",
    "python3-venv",
    "python-is-python3",
    "nodejs",
    "make",
    "patch",
    "jq",
    "file",
    "less",
    "nano",
    "vim-tiny",
    "rsync",
    "zip",
    "unzip",
    "bzip2",
    "xz-utils",
    "zstd",
    "procps",
    "psmisc",
    "lsof",
    "sudo",
)

ENV = {"LANG": "C.UTF-8"}
"""For processes that the agent starts: they pass no login that would read /etc/default/locale."""

DPKG_OPTIONS = (
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)

FILES = {
    "etc/fstab": "",  # the root is mounted by the agent; a device named here would be waited for
    "etc/hostname": "hutch\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/machine-id": "",  # there, so that no first boot is made; empty, so that the agent's or systemd's is written
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/apt/apt.conf.d/90hutch": 'Acquire::Languages "none";\n',  # update: 29 s instead of 46 s in software emulation
    "etc/pip.conf": "[global]\nbreak-system-packages = true\n",  # the machine is the environment
    "etc/resolv.conf": "",
    # Newer than /usr: else the first boot runs ldconfig, sysusers and the journal's catalogue again.
    "etc/.updated": "",
    "var/.updated": "",
    "etc/systemd/journald.conf.d/hutch.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nAudit=no\n",
    "etc/systemd/system.conf.d/hutch.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
}

MASKED_GENERATORS = (
    "systemd-bless-boot-generator",
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-veritysetup-generator",
)

MASKED_UNITS = (
    # No terminal to log in at, nobody to ask for a password.
    "getty.target",
    "getty-static.service",
    "getty@tty1.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    # No modules, no hardware to wait for.
    "kmod-static-nodes.service",
    "systemd-modules-load.service",
    "systemd-tmpfiles-setup-dev.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",  # mq_open works without
    "systemd-pstore.service",
    # No other disks; the root is checked, mounted and grown by the agent.
    "cryptsetup.target",
    "integritysetup.target",
    "veritysetup.target",
    "remote-fs.target",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    # Every start is the agent's to prepare: identity, entropy, clock.
    "systemd-firstboot.service",
    "systemd-machine-id-commit.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    # Nobody reads them.
    "systemd-initctl.socket",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-journald-audit.socket",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "ldconfig.service",
    # Timers that would all fire at once in every machine that is resumed.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "systemd-tmpfiles-clean.timer",
)

ON_DEMAND_UNITS = ("dbus.service", "systemd-logind.service")
"""Started when somebody calls them, not at boot."""

DEFAULT_TARGET = "multi-user.target"


def digest(mirror: str) -> str:
    """The digest of the image this recipe makes from this mirror (empty: the host's own sources)."""
    masked = (MASKED_GENERATORS, MASKED_UNITS, ON_DEMAND_UNITS, DEFAULT_TARGET)
    parts = (SUITE, mirror, PACKAGES, DPKG_OPTIONS, ENV, FILES, *masked)
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
