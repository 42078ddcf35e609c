"""Processes in simulated guests: real ones of this box, in the machine's directory."""

import os
import pwd
from collections.abc import Callable

from hutch.host.simulated import paths
from hutch.host.simulated.machine import Machine
from hutch.host.simulated.process import Process
from hutch.model import errors, guest
from hutch.model.ids import MachineId

_BASE_ENV = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/root", "LANG": "C.UTF-8"}


class SimulatedProcesses:
    """Implements `hutch.host.interface.Processes`; `reach` gives a running machine whose agent answers, or raises."""

    def __init__(self, reach: Callable[[MachineId], Machine]) -> None:
        self._reach = reach

    async def start(self, machine: MachineId, process: str, spec: guest.ProcessSpec) -> guest.ProcessInfo:
        it = self._reach(machine)
        if process in it.processes:
            raise errors.Conflict(f"there is already a process {process}")
        _check_user(spec.user or it.spec.user)
        started = Process(process, spec)
        it.processes[process] = started
        try:
            await started.start(it.root, _directory(it, spec.cwd), _environment(it, spec))
        except FileNotFoundError:
            del it.processes[process]
            words = f"executable file '{spec.argv[0]}' not found in $PATH: No such file or directory"
            raise errors.GuestNotFound(words) from None
        except OSError as error:
            del it.processes[process]
            raise errors.GuestError(f"{spec.argv[0][:80]}: {error.strerror}") from None
        except BaseException:
            it.processes.pop(process, None)
            raise
        return started.info

    async def read(
        self, machine: MachineId, process: str, stdout_at: int, stderr_at: int, wait: float, limit: int = 256 * 1024
    ) -> guest.Output:
        return await self._process(machine, process).read((stdout_at, stderr_at), wait, limit)

    async def write(self, machine: MachineId, process: str, data: bytes, end: bool = False) -> None:
        await self._process(machine, process).write(data, end)

    async def signal(self, machine: MachineId, process: str, number: int) -> None:
        self._process(machine, process).signal(number)

    async def resize(self, machine: MachineId, process: str, size: guest.TerminalSize) -> None:
        self._process(machine, process).resize(size)

    async def list(self, machine: MachineId) -> list[guest.ProcessInfo]:
        return [process.info for process in self._reach(machine).processes.values()]

    async def forget(self, machine: MachineId, process: str) -> None:
        known = self._reach(machine).processes.pop(process, None)
        if known is not None:
            await known.end()

    def _process(self, machine: MachineId, process: str) -> Process:
        known = self._reach(machine).processes.get(process)
        if known is None:
            raise errors.GuestNotFound(f"no process {process}")
        return known


async def start_main(machine: Machine) -> None:
    """The machine's own command, if it has one; what is wrong with it is told on the console, as by a kernel."""
    if machine.spec.command is None:
        return
    spec = guest.ProcessSpec(machine.spec.command, overflow=guest.Overflow.DROP)
    main = Process("main", spec)
    try:
        await main.start(machine.root, _directory(machine, None), _environment(machine, spec))
    except OSError as error:
        machine.console += f"cannot start {spec.argv[0]}: {error.strerror}\n".encode()
    else:
        machine.processes["main"] = main


def _directory(machine: Machine, cwd: str | None) -> str:
    """Below the machine's root."""
    wanted = cwd or machine.spec.workdir or "/"
    directory = paths.resolve(machine.root, wanted)
    if cwd is None:
        directory.mkdir(parents=True, exist_ok=True)
    elif not directory.is_dir():
        raise errors.GuestNotFound(f"{cwd}: No such file or directory")
    if directory.is_relative_to(machine.root):
        return str(directory.relative_to(machine.root))
    return str(directory)  # of a volume


def _environment(machine: Machine, spec: guest.ProcessSpec) -> dict[str, str]:
    its = {"HUTCH_MACHINE_ID": machine.id, "HUTCH_ROOT": str(machine.root)}
    return {**_BASE_ENV, **machine.spec.env, **its, **spec.env}


def _check_user(user: str | None) -> None:
    """A user has to be known, but is not changed to."""
    name = (user or "0").split(":")[0]
    if not name.isdecimal():
        try:
            pwd.getpwnam(name)
        except KeyError:
            raise errors.GuestError(f"unknown user {name}") from None
