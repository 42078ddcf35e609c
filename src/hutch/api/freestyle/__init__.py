"""The API of Freestyle's VMs: made of layered specs, with builds, systemd services and terminals."""
