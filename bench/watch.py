"""What streams cost and how soon they tell: twenty idle watches of one machine, a change, a sample of statistics.

The cost is the CPU time of the service and of the machine's process, less what both took without a watch; a change is
timed from before the request that makes it, so that its way in is part of the figure.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from bench import service
from bench.live import Live

WATCHES = 20
IDLE = 20.0
CHANGES = 40
SAMPLES = 20
LIMIT = 30.0

Figures = dict[str, list[float]]


def measure(home: Path) -> Figures:
    """Per cent of a core that idle watches cost; milliseconds until a change, and a sample, are told."""
    live = Live(home)
    try:
        hutch = service.Service(live.url, live.key, home)
        _, name = hutch.new_machine_ms()
        vm = f"/freestyle/v1/vms/{name}"
        pids = [live.process.pid, service.pid_of(name, home)]
        service.settle()
        without = _busy(pids)
        with ExitStack() as stack:
            lines = [stack.enter_context(_lines(live, "POST", f"{vm}/watch-files")) for _ in range(WATCHES)]
            service.settle()
            cost = max(0.0, _busy(pids) - without)
            told = [_change_ms(hutch, vm, number, lines) for number in range(CHANGES)]
        with _lines(live, "GET", f"{vm}/stats/stream?interval_ms=100") as samples:
            late = [_sample_ms(samples) for _ in range(SAMPLES)]
        hutch.delete(name)
    finally:
        live.stop()
    return {"idle_watches_core_percent": [cost], "change_told_ms": told, "sample_told_ms": late}


def _busy(pids: list[int]) -> float:
    """Per cent of a core that these processes take while nothing is asked of them."""

    def seconds() -> float:
        ticks = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    before, began = seconds(), time.monotonic()
    time.sleep(IDLE)
    return 100 * (seconds() - before) / (time.monotonic() - began)


@contextmanager
def _lines(live: Live, method: str, path: str) -> Iterator[Any]:
    """The lines of a stream with the time each came, read by a thread of its own."""
    came: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
    headers = {"authorization": f"Bearer {live.key}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=None) as http, http.stream(method, path) as answer:
        answer.raise_for_status()

        def read() -> None:
            try:
                for line in answer.iter_lines():
                    if line:
                        came.put((time.time(), json.loads(line)))
            except (httpx.HTTPError, httpx.StreamError, OSError, RuntimeError):
                pass  # it was closed

        threading.Thread(target=read, daemon=True).start()
        yield came


def _change_ms(hutch: service.Service, vm: str, number: int, streams: list[Any]) -> float:
    """Until the last of all who watch has been told."""
    name = f"/tmp/change-{number}"
    began = time.time()
    hutch.http.put(f"{vm}/files{name}", json={"content": "x"}).raise_for_status()
    last = 0.0
    for stream in streams:
        while True:
            at, line = stream.get(timeout=LIMIT)
            if line["filename"] == name:
                last = max(last, at)
                break
    return 1000 * (last - began)


def _sample_ms(samples: Any) -> float:
    """From when a sample was taken, by the service's clock, until it is here."""
    at, line = samples.get(timeout=LIMIT)
    return 1000 * (at - datetime.fromisoformat(line["timestamp"]).timestamp())


def main() -> int:
    """Measure and print."""
    figures = measure(Path(os.environ.get("HUTCH_HOME", ".hutch")).resolve())
    for key, values in figures.items():
        ranked = sorted(values)
        print(f"{key}: p50 {ranked[len(ranked) // 2]:.2f}, most {ranked[-1]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
