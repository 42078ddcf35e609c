"""The floor: what QEMU alone can do on this box, with the project's own kernel, initramfs, agent and template.

No control plane, no asyncio, no HTTP: a process, its control socket and the bare port, spoken to with blocking sockets.
The mechanism is the service's (map the template's memory privately, load the device state, continue), so what is
left between the two is what Hutch itself costs. Not used by the product.
"""

import itertools
import json
import mmap
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hutch.host import sockets
from hutch.host.qemu import argv, tsc

SYNC = b"\0\0HUTCH-SYNC-1\r\n"
CHUNK = 256 * 1024
WINDOW = 4


class Port:
    """The agent's wire over a blocking socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(60)
        self._ids = itertools.count(1)
        self._buffer = bytearray()
        self._socket.sendall(SYNC + self._frame({"op": "hello", "version": 1})[1])
        while (at := self._buffer.find(SYNC)) < 0:
            self._fill()
        del self._buffer[: at + len(SYNC)]
        self.receive()

    def _frame(self, header: dict[str, Any], body: bytes = b"") -> tuple[int, bytes]:
        number = next(self._ids)
        text = json.dumps({"id": number, **header}).encode()
        length = 4 + len(text) + len(body)
        return number, length.to_bytes(4, "little") + len(text).to_bytes(4, "little") + text + body

    def _fill(self) -> None:
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the agent left")
        self._buffer += data

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next answer and its body."""
        while len(self._buffer) < 4 or len(self._buffer) < 4 + int.from_bytes(self._buffer[:4], "little"):
            self._fill()
        length = int.from_bytes(self._buffer[:4], "little")
        frame = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        text = int.from_bytes(frame[:4], "little")
        header = json.loads(frame[4 : 4 + text])
        if "error" in header:
            raise RuntimeError(header["error"])
        return header, frame[4 + text :]

    def send(self, *requests: tuple[dict[str, Any], bytes]) -> None:
        """Several requests in one write."""
        self._socket.sendall(b"".join(self._frame(header, body)[1] for header, body in requests))

    def command(self, name: str, *words: str) -> bytes:
        """Run a command to its end; start and first read in one go."""
        read = {"op": "proc.read", "p": name, "stdout": 0, "stderr": 0, "limit": CHUNK, "wait_ms": 30_000}
        self.send(({"op": "proc.start", "p": name, "argv": list(words)}, b""), (read, b""))
        self.receive()
        while True:
            header, body = self.receive()
            if header["ok"]["exit"] is not None:
                return body
            self.send((read, b""))

    def put(self, path: str, size: int) -> float:
        """MiB/s of a file into the guest."""
        chunk = os.urandom(CHUNK)
        began = time.perf_counter()
        self.send(({"op": "file.open_write", "h": 1, "path": path}, b""))
        self.receive()
        waiting = 0
        for _ in range(size // CHUNK):
            self.send(({"op": "file.write", "h": 1}, chunk))
            waiting += 1
            if waiting == WINDOW:
                self.receive()
                waiting -= 1
        self.send(({"op": "file.commit", "h": 1}, b""))
        for _ in range(waiting + 1):
            self.receive()
        return size / 2**20 / (time.perf_counter() - began)

    def get(self, path: str) -> float:
        """MiB/s of a file out of the guest."""
        began, total = time.perf_counter(), 0
        self.send(({"op": "file.open_read", "h": 2, "path": path}, b""))
        self.receive()
        read = ({"op": "file.read", "h": 2, "limit": CHUNK}, b"")
        self.send(*[read] * WINDOW)
        waiting, end = WINDOW, False
        while waiting:
            header, body = self.receive()
            total += len(body)
            waiting -= 1
            end = end or header["ok"]["eof"]
            if not end:
                self.send(read)
                waiting += 1
        self.send(({"op": "file.close", "h": 2}, b""))
        self.receive()
        return total / 2**20 / (time.perf_counter() - began)

    def close(self) -> None:
        """End the conversation."""
        self._socket.close()


class Qmp:
    """QEMU's control socket, blocking."""

    def __init__(self, path: Path) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        sock.settimeout(60)
        self._file = sock.makefile("rw")
        self._file.readline()
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: object) -> Any:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            reply = json.loads(self._file.readline())
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise RuntimeError(reply["error"])


Runs = Sequence[tuple[int, int]]
"""Pages that follow one another: the first one's number, and how many."""


@dataclass(frozen=True)
class State:
    """What a machine is restored from: devices, disk layers, and pages to be written over the template's memory."""

    devices: Path
    layers: tuple[Path, ...]  # over the image, none of them to be written
    pages: Path | None = None
    runs: Runs = ()


class Template:
    """Files of a template and of what it was booted with, wherever they are."""

    def __init__(self, kernel: Path, initramfs: Path, root_image: Path, directory: Path, board: argv.Board) -> None:
        self.kernel, self.initramfs, self.root_image, self.board = kernel, initramfs, root_image, board
        self.memory, self.blank = directory / "memory", directory / "blank.qcow2"
        self.state = State(directory / "devices", (directory / "disk.qcow2",))


class Machine:
    """One restored machine, as bare as can be; of the template's own state unless told otherwise."""

    def __init__(self, template: Template, work: Path, state: State | None = None) -> None:
        self.template, self.state = template, state or template.state
        self.work = Path(tempfile.mkdtemp(dir=work))
        self.top = self.work / "disk.qcow2"
        shutil.copyfile(template.blank, self.top)
        self._spawn()
        self.qmp = Qmp(self.work / "qmp")
        if self.state.pages is not None:
            self._write_pages(self.state.pages)
        self.qmp("migrate-incoming", uri=f"fd:{self._devices}")
        while (status := self.qmp("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise RuntimeError("the device state was refused")
            time.sleep(0.0005)
        self.qmp("cont")
        self.port = Port(self.work / "agent")

    def _spawn(self) -> None:
        template, layers = self.template, self.state.layers
        self._devices = os.open(self.state.devices, os.O_RDONLY)
        fds = [os.open(path, os.O_RDONLY) for path in (template.kernel, template.initramfs)]
        fds.append(os.open(template.memory, os.O_RDWR))
        fds += [os.open(path, os.O_RDONLY) for path in (template.root_image, *layers)] + [os.open(self.top, os.O_RDWR)]
        with sockets.listening(*(self.work / name for name in ("qmp", "agent", "console"))) as opened:
            launch = argv.Launch(
                name="hutch-floor/machine",
                board=template.board,
                kernel=fds[0],
                initramfs=fds[1],
                memory=fds[2],
                shared_memory=False,
                disk=argv.Disk(fds[3], tuple(fds[4:])),
                sockets=argv.Sockets(*(sock.fileno() for sock in opened)),
                netdev=argv.UserNetwork(),
                tsc_khz=tsc.khz(),
                incoming=True,
            )
            command = argv.build("qemu-system-x86_64", launch)
            self.process = subprocess.Popen(command, pass_fds=(*argv.inherited(launch), self._devices))
        self.top_node = launch.disk.nodes[-1]
        for descriptor in (*fds, self._devices):
            os.close(descriptor)

    def memory_at(self) -> int:
        """Where QEMU has the guest's memory."""
        inode = str(self.template.memory.stat().st_ino)
        for line in Path(f"/proc/{self.process.pid}/maps").read_text().splitlines():
            span, _, _, _, of, *_ = line.split()
            if of == inode:
                return int(span.split("-")[0], 16)
        raise RuntimeError("the memory file is not mapped")

    def _write_pages(self, saved: Path) -> None:
        base, at = self.memory_at(), 0
        with (
            Path(f"/proc/{self.process.pid}/mem").open("r+b", buffering=0) as memory,
            saved.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages,
            memoryview(pages) as view,
        ):
            for first, count in self.state.runs:
                memory.seek(base + first * mmap.PAGESIZE)
                memory.write(view[at : at + count * mmap.PAGESIZE])
                at += count * mmap.PAGESIZE

    def private_mib(self) -> float:
        """What this machine alone holds in memory."""
        return private_mib(self.process.pid)

    def kill(self) -> None:
        """End it and remove what it has."""
        self.port.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.work)


def private_mib(pid: int) -> float:
    """Private_Dirty of a process, MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no Private_Dirty of {pid}")
