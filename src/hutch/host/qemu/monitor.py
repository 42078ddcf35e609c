"""QEMU's control socket: commands with a time limit, foreign errors turned into ours, and the few verbs needed."""

import array
import asyncio
import contextlib
import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any, cast

from qemu.qmp import Message, QMPClient
from qemu.qmp.error import QMPError
from qemu.qmp.qmp_client import ExecuteError

from hutch.host import sockets
from hutch.host.qemu import argv
from hutch.model import errors

COMMAND_TIMEOUT = 30.0
_FDSETS = 2000  # and up; those below are of its start


class Monitor:
    """One connection to one QEMU process."""

    def __init__(self, client: QMPClient, descriptors: socket.socket) -> None:
        self._client = client
        self.shut_down = False  # the guest powered itself off in order
        self.disk_failed = asyncio.Event()  # the host could not carry out a write; the guest is stopped
        # Noted as they come and never accepted: a listener keeps what it accepts, and a guest can provoke events.
        client.events.event_filter = self._note
        self._fdsets = itertools.count(_FDSETS + int(time.monotonic()) * 1024)  # not those of a former service
        self._spent: list[int] = []
        self._descriptors = descriptors  # the same connection, kept to send file descriptors over

    @classmethod
    async def connect(cls, path: Path, timeout: float = COMMAND_TIMEOUT) -> "Monitor":
        """Connect and negotiate. Raises `MachineFailed` when the process does not answer in time."""
        client = QMPClient("hutch")
        try:
            sock = sockets.connect(path)
        except OSError as error:
            raise errors.MachineFailed("QEMU does not listen any more", cause=repr(error)) from error
        descriptors = sock.dup()
        try:
            async with asyncio.timeout(timeout):
                await client.connect(sock)
        except BaseException as error:
            descriptors.close()
            sock.close()
            if isinstance(error, (QMPError, OSError, EOFError, TimeoutError)):
                raise errors.MachineFailed("QEMU does not answer on its control socket", cause=repr(error)) from error
            raise
        return cls(client, descriptors)

    async def execute(self, command: str, timeout: float = COMMAND_TIMEOUT, **arguments: object) -> Any:
        """One command. `MachineFailed` carries QEMU's own words."""
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            async with asyncio.timeout(timeout):
                return await self._client.execute(command, given or None)
        except ExecuteError as error:
            raise errors.MachineFailed(f"QEMU refused {command}: {error}") from error
        except TimeoutError as error:
            raise errors.MachineFailed(f"QEMU did not answer {command} within {timeout:g} s") from error
        except (QMPError, OSError, asyncio.InvalidStateError) as error:
            raise errors.MachineFailed(f"QEMU ended during {command}", cause=repr(error)) from error

    async def human(self, line: str) -> str:
        """A command for people, where QEMU has no other; the answer is text, that of an error too."""
        return str(await self.execute("human-monitor-command", command_line=line))

    async def save_devices(self, path: Path) -> None:
        """Write the device state of the stopped guest, without its memory, to a new file."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        number = next(self._fdsets)  # of its own: what a former try left there must not be taken
        try:
            self._send_descriptor(descriptor)
            await self.execute("add-fd", fdset_id=number)
            try:
                # Despite its name it does not need Xen; with live=False the source keeps its disks and can go on.
                await self.execute("xen-save-devices-state", filename=f"/dev/fdset/{number}", live=False)
            finally:
                self._spent.append(number)
            if os.fstat(descriptor).st_size == 0:
                raise errors.MachineFailed("QEMU saved no device state")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    async def load_devices(self, path: Path, timeout: float) -> None:
        """Load a device state into a process that waits for one; the guest is then stopped at where it was saved."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._send_descriptor(descriptor)
            await self.execute("getfd", fdname="state")
        finally:
            os.close(descriptor)
        await self.execute("migrate-incoming", uri="fd:state")
        pause, deadline = 0.0005, time.monotonic() + timeout
        while (status := (await self.execute("query-migrate")).get("status")) != "completed":
            if status == "failed":
                raise errors.MachineFailed("QEMU refused the saved device state: it was saved on another board")
            if time.monotonic() > deadline:
                raise errors.MachineFailed(f"QEMU did not load the device state within {timeout:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.02)

    async def is_running(self) -> bool:
        """Whether the guest's vCPUs run."""
        return bool((await self.execute("query-status"))["running"])

    async def top_layer(self) -> str:
        """The name of the disk layer that is written."""
        for device in await self.execute("query-block"):
            if argv.DISK in device.get("qdev", "").split("/"):
                return str(device["inserted"]["node-name"])
        raise errors.MachineFailed("QEMU knows nothing of the machine's disk")

    async def add_layer(self, name: str, path: Path, backing: str | None = None) -> None:
        """Open a layer. On an error nothing is opened.

        Without a `backing` it is an empty one, to be put on the disk; with one it stands on that, and is only read.
        """
        number, flags = next(self._fdsets), [os.O_RDONLY]
        if backing is None:
            flags.append(os.O_RDWR)  # and for reading, when it is written no more
        for flag in flags:
            descriptor = os.open(path, flag | os.O_CLOEXEC)
            try:
                self._send_descriptor(descriptor)
                await self.execute("add-fd", fdset_id=number)
            finally:
                os.close(descriptor)
        is_lower = backing is not None
        access = {"read-only": is_lower, "discard": "unmap"}
        file = {"driver": "file", "node-name": f"{name}-file", "filename": f"/dev/fdset/{number}", "locking": "off"}
        layer = {"driver": "qcow2", "node-name": name, "backing": backing, "file": {**file, **access}, **access}
        await self.execute("blockdev-add", **cast(Any, layer))

    async def put_on(self, name: str, backing: str) -> None:
        """Have the disk's empty top layer stand on another one."""
        layer = {"driver": "qcow2", "node-name": name, "file": f"{name}-file", "backing": backing, "discard": "unmap"}
        await self.execute("blockdev-reopen", options=[layer])

    async def drop_layers(self, *names: str) -> None:
        """Close layers that are not under the disk, each before the one it stands on, and the descriptors for them."""
        nodes = await self.execute("query-named-block-nodes", flat=True)
        files = {node["node-name"]: node["file"] for node in nodes}
        for name in names:
            await self.execute("blockdev-del", node_name=name)
            with contextlib.suppress(errors.MachineFailed):  # it went with the layer, unless it was there at the start
                await self.execute("blockdev-del", node_name=f"{name}-file")
            fdset = files.get(f"{name}-file", "").removeprefix("/dev/fdset/")
            if fdset.isdigit():
                self._spent.append(int(fdset))
        if await self.is_running():
            await self._close_spent()

    async def go_on(self) -> None:
        """Let the guest's vCPUs run."""
        await self.execute("cont")
        await self._close_spent()

    async def _close_spent(self) -> None:
        """Have QEMU close descriptors that are of no use any more: it does so only while the guest runs."""
        while self._spent:
            with contextlib.suppress(errors.MachineFailed):
                await self.execute("remove-fd", fdset_id=self._spent.pop())

    def _note(self, event: Message) -> bool:
        match event.get("event"):
            case "SHUTDOWN" if "guest-shutdown" in str(event.get("data")):
                self.shut_down = True
            case "BLOCK_IO_ERROR":
                self.disk_failed.set()
        return False

    def _send_descriptor(self, descriptor: int) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
        try:
            self._descriptors.sendmsg([b" "], [rights])
        except OSError as error:
            raise errors.MachineFailed("QEMU takes no file descriptor", cause=repr(error)) from error

    async def quit(self) -> None:
        """Ask the process to flush its disks and end; its end is not waited for."""
        with contextlib.suppress(errors.MachineFailed):
            await self.execute("quit", timeout=5.0)

    async def close(self) -> None:
        """Disconnect; the process runs on."""
        self._descriptors.close()
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(5.0):
                await self._client.disconnect()
