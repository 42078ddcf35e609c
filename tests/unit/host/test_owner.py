"""The owner of a machine, over a process that is none: what a verb that fails leaves behind."""

import asyncio
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hutch.host.machines import journal
from hutch.host.machines.journal import Journal, Phase
from hutch.host.machines.owner import Owner
from hutch.host.paths import Paths
from hutch.host.qemu.process import Identity, start_time
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import ImageRef, MachineSpec, Resources


class Guest:
    """A process, its control socket, and an agent that may not answer or fail to set the clock."""

    def __init__(self, answers: bool) -> None:
        self.monitor = self
        self.watch = SimpleNamespace(ended=asyncio.Event())
        self.console = None
        self.agent: Any = None
        self.is_running = False
        self._answers = answers

    async def go_on(self) -> None:
        self.is_running = True

    async def execute(self, command: str) -> None:
        assert command == "stop"
        self.is_running = False

    async def connect_agent(self, _: float) -> Any:
        if not self._answers:
            raise errors.AgentUnavailable
        self.agent = SimpleNamespace(restore=self._restore, closed=asyncio.Event())
        return self.agent

    async def disconnect_agent(self) -> None:
        self.agent = None

    async def close(self) -> None:
        self.agent = None

    async def _restore(self, *_: object, **__: object) -> None:
        raise errors.GuestError("no clock")


@pytest.mark.parametrize("answers", [False, True])
async def test_a_machine_whose_agent_does_not_answer_stands_still_again_as_its_journal_says(
    tmp_path: Path, answers: bool
) -> None:
    spec = MachineSpec(ImageRef("debian", "sha256:1"), Resources(1, 64, 1), hostname="m")
    paths = Paths(tmp_path)
    paths.machine(MachineId("m")).root.mkdir(parents=True)
    owner = Owner(SimpleNamespace(paths=paths), Journal(MachineId("m"), spec, None, Phase.PAUSED))  # type: ignore[arg-type]
    owner.journal.write(paths.machine(MachineId("m")).journal)
    machine = Guest(answers)
    owner._body.hold(machine)  # type: ignore[arg-type]
    with pytest.raises(errors.HutchError):
        await owner.resume()
    written = journal.read(paths.machine(MachineId("m")).journal)
    assert written is not None
    assert (owner.journal.phase, written.phase, machine.is_running, machine.agent) == (
        *(Phase.PAUSED, Phase.PAUSED, False, None),
    )
    await owner.close()


class Stalling(Guest):
    """Its agent answers nothing that takes it long."""

    def __init__(self) -> None:
        super().__init__(answers=True)
        self.disk_failed, self.is_asked = asyncio.Event(), asyncio.Event()
        self.agent = SimpleNamespace(closed=asyncio.Event(), grow=self._restore, sync=self.disconnect_agent)

    async def execute(self, command: str, **_: object) -> None:
        assert command in ("stop", "block_resize")

    async def end(self) -> None:
        self.watch.ended.set()

    async def _restore(self, *_: object, **__: object) -> None:
        self.is_asked.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize(("phase", "verb", "given"), [(Phase.PAUSED, "resume", ()), (Phase.RUNNING, "resize", (2,))])
async def test_a_guest_that_does_not_answer_is_ended_all_the_same(
    tmp_path: Path, phase: Phase, verb: str, given: tuple[int, ...]
) -> None:
    spec = MachineSpec(ImageRef("debian", "sha256:1"), Resources(1, 64, 1), hostname="m")
    paths = Paths(tmp_path)
    paths.machine(MachineId("m")).root.mkdir(parents=True)
    context: Any = SimpleNamespace(paths=paths, collect=lambda: None)
    owner = Owner(context, Journal(MachineId("m"), spec, None, phase, layers=("a",), disk_gib=1))
    guest: Any = Stalling()
    owner._body.hold(guest)
    asked = asyncio.ensure_future(getattr(owner, verb)(*given))
    async with asyncio.timeout(30):
        await guest.is_asked.wait()
        await owner.stop(0)
    with pytest.raises(errors.Conflict):
        await asked
    assert (owner.journal.phase, guest.watch.ended.is_set()) == (Phase.STOPPED, True)
    assert owner.journal.disk_gib == owner.journal.spec.resources.disk_gib == (given or (1,))[0]
    await owner.close()


async def test_the_network_of_a_process_that_could_not_be_ended_in_its_time_goes_with_it(tmp_path: Path) -> None:
    spec = MachineSpec(ImageRef("debian", "sha256:1"), Resources(1, 64, 1), hostname="m")
    paths, abandoned = Paths(tmp_path), list[int | None]()
    networks = SimpleNamespace(abandon=abandoned.append)
    context: Any = SimpleNamespace(paths=paths, engine=SimpleNamespace(launcher=SimpleNamespace(networks=networks)))
    with subprocess.Popen(["sleep", "1000"]) as left:
        identity = Identity(left.pid, start_time(left.pid) or 0, slot=7)
        owner = Owner(context, Journal(MachineId("m"), spec, None, Phase.FAILED, process=identity))
        await owner.destroy()
    assert abandoned == [7]
    await owner.close()
