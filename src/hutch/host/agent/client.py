"""What the host asks of a guest through its agent. One conversation; when it is lost, connect again.

Processes and files have modules of their own (`processes`, `files`); here are connecting and the guest as a whole.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch.host.agent import answers
from hutch.host.agent.conversation import Conversation
from hutch.host.agent.files import Files
from hutch.host.agent.processes import Processes
from hutch.model import errors, guest

VERSION = 1
RETRY = 0.005  # seconds between attempts to connect
PAUSE = 0.02  # seconds for the guest to see that we left
PATIENCE = 0.5  # seconds a hello may take before the conversation is begun anew; doubled each time
PATIENCE_LIMIT = 16.0
TIMEOUT = 30.0
MOUNT_TIMEOUT = 60.0  # of an ext4 whose journal has to be replayed
DISK_WAIT_MS = 10_000  # a disk may take to appear


@dataclass(frozen=True, slots=True)
class Hello:
    """Who answers."""

    version: int  # of the protocol, as both speak it
    agent: str  # the agent's own version
    boot_id: str
    init: str  # process 1 of the guest: systemd or agent
    pid: int


class Agent:
    """A conversation with one guest's agent. Every call may raise `errors.AgentUnavailable`."""

    def __init__(self, conversation: Conversation, hello: Hello) -> None:
        self.hello = hello
        self.processes = Processes(conversation)
        self.files = Files(conversation)
        self._conversation = conversation

    def __repr__(self) -> str:
        return f"<Agent {self.hello.agent} pid {self.hello.pid}, {self._conversation!r}>"

    @classmethod
    async def connect(cls, path: Path, timeout: float) -> "Agent":
        """Connect to the socket at `path` and agree on a version, trying again until `timeout` seconds are over.

        A booting guest does not answer yet: QEMU takes the connection and holds back what is sent until the agent is
        there. An agent that was cut off in the middle of a frame understands only the end of the connection: so it is
        made anew when patience is over.
        """
        end = asyncio.get_running_loop().time() + timeout
        patience = PATIENCE
        reason = "it was not there"
        while (left := end - asyncio.get_running_loop().time()) > 0:
            conversation: Conversation | None = None
            try:
                async with asyncio.timeout(left):
                    conversation = await Conversation.connect(path)
                    return cls(conversation, await _greet(conversation, min(left, patience)))
            except (OSError, errors.AgentUnavailable) as error:
                reason = str(error)
                if conversation is not None:
                    conversation.abandon()
                    patience = min(patience * 2, PATIENCE_LIMIT)
            except BaseException:
                if conversation is not None:
                    conversation.abandon()
                raise
            await asyncio.sleep(RETRY if conversation is None else PAUSE)
        raise errors.AgentUnavailable("The guest's agent does not answer.", path=str(path), reason=reason)

    @property
    def closed(self) -> asyncio.Event:
        """Set when the conversation is over, by whomever."""
        return self._conversation.closed

    async def close(self) -> None:
        """End the conversation; the guest sees a clean end. Its processes run on."""
        await self._conversation.close()

    async def restore(
        self,
        entropy: bytes,
        *,
        time_ns: int | None = None,
        machine_id: str | None = None,
        hostname: str | None = None,
        instance_id: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Make a restored guest itself. All or an error: nothing else may run in it before this has returned."""
        given = {
            "time_ns": time_ns,
            "machine_id": machine_id,
            "hostname": hostname,
            "instance_id": instance_id,
            "env": None if env is None else dict(env),
        }
        arguments = {name: value for name, value in given.items() if value is not None}
        await self._conversation.request("restore", arguments, entropy, timeout=timeout)

    async def network(
        self,
        address: str,
        gateway: str | None,
        dns: Sequence[str],
        interface: str = "eth0",
        timeout: float = TIMEOUT,
    ) -> None:
        """Give the interface its address ("10.0.2.15/24"), the default route and the resolvers."""
        arguments = {"address": address, "gateway": gateway, "dns": list(dns), "interface": interface}
        await self._conversation.request("network", arguments, timeout=timeout)

    async def grow(self, timeout: float = 120.0) -> int:
        """Grow the root file system to its device: its size in bytes."""
        return (await self._ask("grow", timeout)).integer("bytes")

    async def stats(self, timeout: float = TIMEOUT) -> guest.GuestStats:
        """What the guest's kernel says of itself."""
        return answers.stats(await self._ask("stats", timeout))

    async def sync(self, timeout: float = 120.0) -> None:
        """Write out everything to the guest's disks."""
        await self._ask("sync", timeout)

    async def mount(
        self, serial: str, path: str, *, readonly: bool, again: bool = False, timeout: float = MOUNT_TIMEOUT
    ) -> None:
        """Mount the disk with this serial, unless it is there; `again`: what is mounted there is of the past."""
        arguments = {"serial": serial, "path": path, "readonly": readonly, "again": again}
        await self._conversation.request("mount", {**arguments, "wait_ms": DISK_WAIT_MS}, timeout=timeout)

    async def unmount(self, path: str, timeout: float = MOUNT_TIMEOUT) -> None:
        """Unmount what is mounted there, if anything is."""
        await self._conversation.request("unmount", {"path": path}, timeout=timeout)

    async def shutdown(self, timeout: float = TIMEOUT) -> None:
        """Ask the guest to power itself off; returns at once."""
        await self._ask("shutdown", timeout)

    async def _ask(self, op: str, timeout: float) -> answers.Fields:
        answer = await self._conversation.request(op, {}, timeout=timeout)
        return answers.Fields(answer.header["ok"])


async def _greet(conversation: Conversation, patience: float) -> Hello:
    answer = await conversation.greet(VERSION, patience)
    fields = answers.Fields(answer.header["ok"])
    version = fields.integer("version")
    if version != VERSION:
        raise errors.AgentUnavailable(f"The guest's agent speaks version {version}, not {VERSION}.")
    return Hello(
        version=version,
        agent=fields.text("agent"),
        boot_id=fields.text("boot_id"),
        init=fields.text("init"),
        pid=fields.integer("pid"),
    )
