"""The control plane: what should be, for whom, and whether it may. Knows no HTTP, no SQL and no QEMU."""
