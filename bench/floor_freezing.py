"""The floor of freezing: what QEMU alone needs to save, copy and wake a machine, by the service's own mechanism.

Stop, save the device state, put a new layer on the disk, copy the pages that were written, continue. A child is a
new process on the template's memory into which those pages are written back. Blocking calls, one after the other;
nothing is synced and no sum is made. The guest (systemd's) writes to its disk, so a child gets an overlay on the layer
that its source had.
"""

import mmap
import os
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import floor

PAGE = mmap.PAGESIZE
CHUNK = 2**20
WRITE = "head -c 64M /dev/urandom > /dev/shm/x"
CHECK = "test $(stat -c %s /dev/shm/x) = 67108864"

# Of a page's entry in pagemap, the highest byte: present or swapped out, and not a page of the file.
_WRITTEN = bytes(int(bool(top & 0xC0) and not top & 0x20) for top in range(256))


@dataclass(frozen=True)
class Frozen:
    """A saved state, and for how long the guest stood still for it."""

    state: floor.State
    pause_ms: float


def since(began: float) -> float:
    """Milliseconds."""
    return 1000 * (time.perf_counter() - began)


def source(template: floor.Template, work: Path) -> floor.Machine:
    """A machine that has written 64 MiB of its memory."""
    machine = floor.Machine(template, work)
    machine.port.command("write", "sh", "-c", WRITE)
    return machine


def written(machine: floor.Machine) -> list[tuple[int, int]]:
    """Runs of the pages that are the machine's own."""
    count = machine.template.board.memory_mib * 2**20 // PAGE
    with Path(f"/proc/{machine.process.pid}/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(machine.memory_at() // PAGE * 8)
        entries = bytearray()
        while len(entries) < count * 8:
            entries += pagemap.read(count * 8 - len(entries))
    flags = entries[7::8].translate(_WRITTEN)
    return [(run.start(), run.end() - run.start()) for run in re.finditer(b"\x01+", flags)]


def copy_pages(machine: floor.Machine, runs: Sequence[tuple[int, int]], target: Path) -> None:
    """These pages, one after the other, as a file."""
    base, buffer = machine.memory_at(), memoryview(bytearray(CHUNK))
    memory = os.open(f"/proc/{machine.process.pid}/mem", os.O_RDONLY)
    with target.open("xb", buffering=CHUNK) as out:
        for first, count in runs:
            at, end = base + first * PAGE, base + (first + count) * PAGE
            while at < end:
                got = os.preadv(memory, [buffer[: min(CHUNK, end - at)]], at)
                out.write(buffer[:got])
                at += got
    os.close(memory)


def save(machine: floor.Machine, directory: Path) -> floor.State:
    """The state of a guest that stands still."""
    state = floor.State(
        directory / "devices", (*machine.state.layers, machine.top), directory / "pages", written(machine)
    )
    machine.qmp("xen-save-devices-state", filename=str(state.devices), live=False)
    assert state.pages is not None
    copy_pages(machine, state.runs, state.pages)
    return state


def freeze(machine: floor.Machine) -> Frozen:
    """Save a machine, which goes on in a new layer of its disk. Call once."""
    machine.port.close()
    new = machine.work / "next.qcow2"
    shutil.copyfile(machine.template.blank, new)
    file = {"driver": "file", "filename": str(new), "locking": "off"}
    machine.qmp("blockdev-add", **{"driver": "qcow2", "node-name": "next", "backing": None, "file": file})
    began = time.perf_counter()
    machine.qmp("stop")
    state = save(machine, machine.work)
    machine.qmp("blockdev-snapshot", node=machine.top_node, overlay="next")
    machine.qmp("cont")
    return Frozen(state, since(began))


def child(template: floor.Template, work: Path, state: floor.State) -> floor.Machine:
    """A machine restored from a saved state, after its first command."""
    machine = floor.Machine(template, work, state)
    assert machine.port.command("first", "sh", "-c", "echo hi") == b"hi\n"
    return machine


def check(machine: floor.Machine) -> None:
    """It has what was written."""
    assert machine.port.command("check", "sh", "-c", f"{CHECK} && echo whole") == b"whole\n"


def fork(template: floor.Template, work: Path, children: int) -> tuple[float, float, float]:
    """From the wish for so many children to the first command of each; the source's pause; a child's own memory.

    As many at a time as there are processors: more at once only get into each other's way.
    """
    parent = source(template, work)
    began = time.perf_counter()
    frozen = freeze(parent)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(lambda _: child(template, work, frozen.state), range(children)))
    took = since(began)
    private = made[0].private_mib()
    for machine in made:
        check(machine)
        machine.kill()
    parent.kill()
    return took, frozen.pause_ms, private


def suspend_and_wake(template: floor.Template, work: Path) -> tuple[float, float]:
    """Until no process is left, and from there to the first command."""
    machine = source(template, work)
    began = time.perf_counter()
    machine.port.close()
    machine.qmp("stop")
    state = save(machine, machine.work)
    machine.process.kill()
    machine.process.wait()
    suspended = since(began)
    began = time.perf_counter()
    woken = child(template, work, state)
    took = since(began)
    check(woken)
    woken.kill()
    shutil.rmtree(machine.work)
    return suspended, took


def claim(template: floor.Template, work: Path) -> float:
    """A machine that waits, warmed and stopped, to its first command."""
    machine = source(template, work)
    machine.port.close()
    machine.qmp("stop")
    began = time.perf_counter()
    machine.qmp("cont")
    machine.port = floor.Port(machine.work / "agent")
    assert machine.port.command("first", "sh", "-c", "echo hi") == b"hi\n"
    took = since(began)
    machine.kill()
    return took
