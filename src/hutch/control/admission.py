"""Whether the box can run one more machine. Memory is promised before a start and given back after the end.

Promises are counted against the whole box, and the machine's own need against what is free at the moment: so machines
that are asked for at once are admitted exactly as far as they fit, and other programs of the box are not pushed out.
A paused machine keeps its promise, a suspended one has none. What is only kept ready (`members.py`) makes room.
"""

from collections.abc import Awaitable, Callable, Sequence

from hutch.host.interface import Capacity, Host
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Resources


async def nothing_to_give(_: int) -> int:
    """The `give_way` of somebody who has nothing to give."""
    return 0


class Admission:
    """The memory promised to machines that run or are being started."""

    def __init__(self, host: Host) -> None:
        self.give_way: Callable[[int], Awaitable[int]] = nothing_to_give  # gives back MiB, up to so many; told how many
        self._host = host
        self._promised: dict[MachineId, int] = {}
        self._total = 0

    @property
    def promised_mib(self) -> int:
        """MiB promised in all."""
        return self._total

    def promised(self, machine: MachineId) -> int:
        """MiB promised to one."""
        return self._promised.get(machine, 0)

    def hold(self, machine: MachineId, memory_mib: int) -> None:
        """Note a machine that runs already, whether it fits or not."""
        self.release(machine)
        self._promised[machine] = memory_mib
        self._total += memory_mib

    async def admit(self, machine: MachineId, memory_mib: int) -> None:
        """Promise it this much. `NoCapacity` if so much is not free now; asking again for the same machine is free."""
        await self._admit([machine], memory_mib, self.give_way)

    async def enlarge(self, machine: MachineId, memory_mib: int) -> None:
        """Promise it so much in all instead of what it has. `NoCapacity` if the difference is not free now."""
        while (more := memory_mib - self.promised(machine)) > 0:
            capacity = await self._host.capacity()
            free = self._find_free(capacity)
            if more <= free:
                self.hold(machine, memory_mib)
            elif await self.give_way(more - free) == 0:
                raise errors.NoCapacity(_refusal(1, more, free, capacity))

    async def admit_all(self, machines: Sequence[MachineId], memory_mib: int) -> None:
        """Promise each of them this much, or none anything: `NoCapacity`, naming how many would fit."""
        await self._admit(machines, memory_mib, self.give_way)

    async def admit_member(self, machine: MachineId, memory_mib: int) -> None:
        """The same for one that is only kept ready: nothing else that is makes room for it."""
        await self._admit([machine], memory_mib, nothing_to_give)

    async def _admit(
        self, machines: Sequence[MachineId], memory_mib: int, give_way: Callable[[int], Awaitable[int]]
    ) -> None:
        while True:
            capacity = await self._host.capacity()
            wanting = [machine for machine in machines if machine not in self._promised]
            free = self._find_free(capacity)
            short = memory_mib * len(wanting) - free
            if not wanting or short <= 0:
                break
            if await give_way(short) == 0:
                raise errors.NoCapacity(_refusal(len(wanting), memory_mib, free, capacity))
        for machine in wanting:
            self.hold(machine, memory_mib)

    def _find_free(self, capacity: Capacity) -> int:
        return max(0, min(capacity.memory_mib - self._total, capacity.memory_free_mib))

    def transfer(self, member: MachineId, machine: MachineId) -> None:
        """What one was promised is promised to another, which takes its place."""
        memory_mib = self.promised(member)
        self.release(member)
        self.hold(machine, memory_mib)

    def release(self, machine: MachineId) -> None:
        """Take back what it was promised, if anything."""
        self._total -= self._promised.pop(machine, 0)


def _refusal(count: int, memory_mib: int, free: int, capacity: Capacity) -> str:
    asked = f"{memory_mib} MiB" if count == 1 else f"{count} machines of {memory_mib} MiB each"
    fits = "" if count == 1 else f", enough for {free // memory_mib} of them"
    return (
        f"not enough memory is free now: {asked} asked for, {free} MiB free of this box's "
        f"{capacity.memory_mib} MiB for machines{fits}; stop a machine, or ask for less"
    )


def check_possible(resources: Resources, capacity: Capacity, max_cpus: int) -> None:
    """`NoCapacity`, naming what there is, if the box could not run such a machine even with nothing else on it."""
    for what, unit, asked, most in (
        ("vCPUs", "", resources.cpus, min(max_cpus, capacity.cpus)),
        ("memory", " MiB", resources.memory_mib, capacity.memory_mib),
        ("disk", " GiB", resources.disk_gib, capacity.disk_gib),
    ):
        if asked > most:
            raise errors.NoCapacity(f"{what}: {asked}{unit} asked for, this box has {most}{unit} for a machine")
