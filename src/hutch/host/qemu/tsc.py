"""How fast this host's time stamp counter ticks, which a guest under software emulation must be told."""

import functools
import re
import subprocess
from pathlib import Path

_DETECTED = re.compile(r"tsc: (?:Detected|Refined TSC clocksource calibration:) ([\d.]+) MHz")


@functools.cache
def khz() -> int:
    """kHz, as the kernel measured it at boot (its log), else as /proc/cpuinfo says now."""
    try:
        messages = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        messages = ""
    found = _DETECTED.findall(messages) or re.findall(r"cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text())
    return int(float(found[-1]) * 1000)
