"""Whether the box can run one more machine. Memory is promised before a start and given back after the end.

Promises are counted against the whole box, and the machine's own need against what is free at the moment: so machines
that are asked for at once are admitted exactly as far as they fit, and other programs of the box are not pushed out.
"""

from hutch.host.interface import Capacity, Host
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Resources


class Admission:
    """The memory promised to machines that run or are being started."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._promised: dict[MachineId, int] = {}
        self._total = 0

    @property
    def promised_mib(self) -> int:
        """MiB promised in all."""
        return self._total

    def hold(self, machine: MachineId, memory_mib: int) -> None:
        """Note a machine that runs already, whether it fits or not."""
        self.release(machine)
        self._promised[machine] = memory_mib
        self._total += memory_mib

    async def admit(self, machine: MachineId, memory_mib: int) -> None:
        """Promise it this much. `NoCapacity` if so much is not free now; asking again for the same machine is free."""
        capacity = await self._host.capacity()
        if machine in self._promised:
            return
        free = max(0, min(capacity.memory_mib - self._total, capacity.memory_free_mib))
        if memory_mib > free:
            raise errors.NoCapacity(
                f"not enough memory is free now: {memory_mib} MiB asked for, {free} MiB free of this box's "
                f"{capacity.memory_mib} MiB for machines; stop a machine, or ask for less"
            )
        self.hold(machine, memory_mib)

    def release(self, machine: MachineId) -> None:
        """Take back what it was promised, if anything."""
        self._total -= self._promised.pop(machine, 0)


def check_possible(resources: Resources, capacity: Capacity, max_cpus: int) -> None:
    """`NoCapacity`, naming what there is, if the box could not run such a machine even with nothing else on it."""
    for what, unit, asked, most in (
        ("vCPUs", "", resources.cpus, min(max_cpus, capacity.cpus)),
        ("memory", " MiB", resources.memory_mib, capacity.memory_mib),
        ("disk", " GiB", resources.disk_gib, capacity.disk_gib),
    ):
        if asked > most:
            raise errors.NoCapacity(f"{what}: {asked}{unit} asked for, this box has {most}{unit} for a machine")
