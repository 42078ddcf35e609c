"""Every example that needs a service, on a real one. The first starts one of its own: that is `make demo`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.live import Live

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.glob("*.py"))])
def test_it_runs(name: str, real_service: Live) -> None:
    environment = {**os.environ, "HUTCH_URL": real_service.url, "HUTCH_KEY": real_service.key}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓" in done.stdout
