"""A machine's journal, and its process while it has one. Only the machine's owner changes them, one step at a time."""

import contextlib
import shutil
from collections.abc import Callable

import structlog

from hutch.host.consoles import Kept
from hutch.host.machines.context import Context
from hutch.host.machines.held import Held
from hutch.host.machines.journal import Journal, Phase
from hutch.host.network.connection import Connection
from hutch.host.qemu import process, vm
from hutch.host.qemu.console import Tail
from hutch.host.qemu.process import Identity
from hutch.model import errors

log = structlog.get_logger(__name__)


class Body:
    """`on_end` is called when a process that is held has ended."""

    def __init__(self, context: Context, journal: Journal, on_end: Callable[[], None]) -> None:
        self.context = context
        self.journal = journal
        self.held: Held | None = None
        self._on_end = on_end
        self.where = context.paths.machine(journal.id)
        self._tail: Tail | None = None

    @property
    def console(self) -> Kept:
        """The end of the console, of what runs or of what ran last."""
        if self._tail is not None:
            return self._tail.kept
        data = b""
        if self.journal.run is not None:
            with contextlib.suppress(OSError):
                data = self.context.paths.run(self.journal.run).console_log.read_bytes()
        return Kept(self.journal.run or "", data, len(data))

    @property
    def connection(self) -> Connection | None:
        """What joins its process to the network, while it has one."""
        return None if self.held is None else self.held.machine.connection

    def running(self) -> Held:
        """What runs. `NotRunning`."""
        if self.held is None or self.journal.phase is not Phase.RUNNING:
            raise errors.NotRunning(f"machine {self.journal.id} is not running")
        return self.held

    def record(self, journal: Journal) -> None:
        """Write down a step before it is taken; an error means that it must not be."""
        journal.write(self.where.journal, self.journal)
        self.journal = journal

    def note(self, journal: Journal) -> None:
        """Write down what is so already. On a full disk it is so all the same: a restart finds it out again."""
        former, self.journal = self.journal, journal
        try:
            journal.write(self.where.journal, former)
        except (errors.DiskFull, OSError) as error:
            log.warning("journal not written", machine=journal.id, phase=journal.phase, error=str(error))

    @property
    def living(self) -> Identity | None:
        """The process in the journal, if it still runs: it has the disk open."""
        identity = self.journal.process
        return identity if identity is not None and process.is_alive(identity) else None

    async def end_former(self) -> None:
        """End a process that could not be ended when its time had come, if it still runs."""
        if (former := self.living) is not None:
            await process.end(former)
            self.context.engine.launcher.networks.abandon(former.slot)

    def hold(self, machine: vm.Vm) -> None:
        """Look after what runs."""
        self._tail = machine.console
        self.held = Held(self.journal.id, machine, self._on_end)

    def let_go(self) -> vm.Vm | None:
        """What runs, if anything, to be looked after no more."""
        held, self.held = self.held, None
        return None if held is None else held.release()

    def take(self) -> vm.Vm:
        """What runs, to be looked after no more."""
        machine = self.let_go()
        assert machine is not None
        return machine

    async def release(self) -> None:
        """Let what runs run on, without us."""
        if (machine := self.let_go()) is not None:
            await machine.close()

    def drop_run(self, run: str | None) -> None:
        """Remove what a former process left."""
        if run is not None and run != self.journal.run:
            shutil.rmtree(self.context.paths.run(run).root, ignore_errors=True)
