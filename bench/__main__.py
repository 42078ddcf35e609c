"""Measure the floor and the service side by side, and write bench/results.json.

Both are measured in turns in one run, because these boxes are shared and noisy: only the ratio means anything. The
service is a real one of its own (HUTCH_HOME, by default .hutch in the checkout) on a loopback port.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import floor, freezing, known, network, overhead, policy, proxy, records, service, watch
from bench.live import live_service
from hutch.host import files
from hutch.host.qemu.argv import Board

ROUNDS = 9
COMMANDS = 60
FILE_MIB = 64
RESULTS = Path(__file__).parent / "results.json"


def template_of(home: Path, shape: dict[str, int]) -> floor.Template:
    """The newest template of the shape that is measured."""
    found = sorted((home / "templates").glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        recipe = (files.read_json(path) or {})["recipe"]
        board = Board(**recipe["board"])
        if board.memory_mib == shape["memoryMb"] and board.cpus == shape["cpus"]:
            boot = next(p for p in (home / "boot").iterdir() if recipe["boot"].split(":")[-1] in p.name)
            image = next(p for p in (home / "images").iterdir() if recipe["image"].split(":")[-1] in p.name)
            return floor.Template(boot / "vmlinux", boot / "initramfs.cpio", image / "root.ext4", path.parent, board)
    raise RuntimeError(f"no template of the measured shape in {home}")


def side_by_side(hutch: service.Service, template: floor.Template, work: Path) -> dict[str, dict[str, list[float]]]:
    """Restores and first commands in turns; the last machine of each side stays for what follows."""
    bare: dict[str, list[float]] = {"restore_to_first_command_ms": [], "private_mib": []}
    ours: dict[str, list[float]] = {"restore_to_first_command_ms": [], "private_mib": []}
    for _ in range(ROUNDS):
        began = floor.time.perf_counter()
        machine = floor.Machine(template, work)
        assert machine.port.command("first", "sh", "-c", "echo hi") == b"hi\n"
        bare["restore_to_first_command_ms"].append(1000 * (floor.time.perf_counter() - began))
        bare["private_mib"].append(machine.private_mib())
        machine.kill()
        milliseconds, name = hutch.new_machine_ms()
        ours["restore_to_first_command_ms"].append(milliseconds)
        ours["private_mib"].append(service.private_mib(name, hutch.home))
        hutch.delete(name)
        service.settle()
    commands_and_files(hutch, template, work, bare, ours)
    return {"floor": bare, "hutch": ours}


def commands_and_files(
    hutch: service.Service,
    template: floor.Template,
    work: Path,
    bare: dict[str, list[float]],
    ours: dict[str, list[float]],
) -> None:
    """Warm commands and transfers, on one machine of each side, in turns."""
    machine = floor.Machine(template, work)
    _, name = hutch.new_machine_ms()
    size = FILE_MIB * 2**20

    def timed(index: int) -> float:
        began = floor.time.perf_counter()
        machine.port.command(f"c{index}", "sh", "-c", "echo hi")
        return 1000 * (floor.time.perf_counter() - began)

    timed(-1)
    bare["command_p50_ms"], ours["command_p50_ms"] = [], []
    for turn in range(4):
        bare["command_p50_ms"] += [timed(turn * COMMANDS + index) for index in range(COMMANDS)]
        ours["command_p50_ms"] += hutch.command_ms(name, COMMANDS)
    for key in ("put_mib_s", "get_mib_s"):
        bare[key], ours[key] = [], []
    for _ in range(5):
        bare["put_mib_s"].append(machine.port.put("/workspace/bench", size))
        ours["put_mib_s"].append(hutch.put_mib_s(name, size))
        bare["get_mib_s"].append(machine.port.get("/workspace/bench"))
        ours["get_mib_s"].append(hutch.get_mib_s(name, size))
    machine.kill()
    ours["get_machine_rps"] = [hutch.get_machine_rps(name, 2.0) for _ in range(3)]
    ours["cold_boot_ms"] = [hutch.cold_boot_ms(name) for _ in range(3)]
    hutch.delete(name)


def show(results: dict[str, dict[str, float]]) -> None:
    """A table for a person."""
    table = Table("", "floor", "hutch", "ratio")
    cell: Callable[[str, str], str] = lambda side, key: str(results[side].get(key, ""))  # noqa: E731
    for key in results["hutch"]:
        table.add_row(key, cell("floor", key), cell("hutch", key), cell("ratio", key))
    Console().print(table)


def main() -> int:
    """Measure, write, show."""
    home = Path(os.environ.get("HUTCH_HOME", ".hutch")).resolve()
    work = Path(tempfile.mkdtemp(prefix="hutch-floor-"))
    try:
        with live_service(home) as (url, key):
            hutch = service.Service(url, key, home)
            _, name = hutch.new_machine_ms()  # makes the template if there is none
            hutch.delete(name)
            freezing.make_template(hutch)
            measured = side_by_side(hutch, template_of(home, service.SHAPE), work)
            frozen = freezing.side_by_side(hutch, template_of(home, freezing.SHAPE), work)
            optimized = known.side_by_side(hutch, template_of(home, freezing.SHAPE), work)
            woken = proxy.wake(hutch, template_of(home, freezing.SHAPE), work)
            measured["hutch"] |= records.measure(hutch)
        carried = proxy.measure()
        measured["hutch"] |= network.measure() | policy.measure() | overhead.measure() | watch.measure(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for side, values in measured.items():
        values |= frozen[side] | optimized[side] | woken[side] | carried[side]
    results = {
        side: {k: round(statistics.median(v), 2) for k, v in values.items()} for side, values in measured.items()
    }
    pairs = results["floor"].items()
    results["ratio"] = {key: round(results["hutch"][key] / value, 2) for key, value in pairs}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
