"""What a tenant may have at once. Limits are held against the records, and against what is just being made.

What is recorded is tallied as it changes, so a check costs the same for ten machines and ten thousand.
Who makes or starts something claims it first: from then until it is recorded it counts, once. There is no waiting
between counting and claiming, so calls at once get exactly as much as fits. A paused machine counts as running, because
it keeps its memory; one that is being deleted counts as gone. The ready members of pools count among what runs, and
make room for machines (`members.py`).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from hutch.control.accounts import Accounts
from hutch.model import errors
from hutch.model.ids import TenantId
from hutch.model.keys import Limits
from hutch.model.machine import Machine
from hutch.model.states import State
from hutch.model.volumes import Volume

UP = frozenset({State.STARTING, State.RUNNING, State.PAUSING, State.PAUSED, State.SUSPENDING, State.STOPPING})
GONE = frozenset({State.DESTROYING, State.DESTROYED})

K = TypeVar("K", bound=str)

_WORDS = {
    "machines": ("machines", "", "delete one"),
    "running": ("running machines", "", "stop or suspend one"),
    "cpus": ("vCPUs of running machines", "", "stop or suspend a machine"),
    "memory_mib": ("memory of running machines", " MiB", "stop or suspend a machine"),
    "disk_gib": ("disk of machines and volumes", " GiB", "delete a machine or a volume"),
    "volumes": ("volumes", "", "delete one"),
    "snapshots": ("snapshots", "", "delete one"),
}


class Use(NamedTuple):
    """What something counts for; the fields are those of `Limits`."""

    machines: int = 0
    running: int = 0
    cpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0
    volumes: int = 0
    snapshots: int = 0


NOTHING = Use()


def of_machine(machine: Machine, is_up: bool | None = None) -> Use:
    """What it counts for; `is_up`: as if it ran, or did not."""
    if machine.state in GONE:
        return NOTHING
    its = machine.spec.resources
    if machine.state in UP if is_up is None else is_up:
        return Use(machines=1, running=1, cpus=its.cpus, memory_mib=its.memory_mib, disk_gib=its.disk_gib)
    return Use(machines=1, disk_gib=its.disk_gib)


def check(limits: Limits, used: Use, more: Use) -> None:
    """`QuotaExceeded`, naming limit, value and use, if what is asked for does not fit. What costs nothing fits."""
    for name in Use._fields:
        limit, asked, has = getattr(limits, name), getattr(more, name), getattr(used, name)
        if limit is not None and asked > 0 and has + asked > limit:
            what, unit, remedy = _WORDS[name]
            raise errors.QuotaExceeded(
                f"quota exceeded: {asked}{unit} more {what} asked for, {has}{unit} of {limit}{unit} in use ({name}); "
                f"{remedy}, or ask for a larger quota",
                limit=name,
            )


class Tally:
    """What one tenant has recorded: each thing's use by its id, and the sum of all."""

    def __init__(self) -> None:
        self.total = NOTHING
        self._uses: dict[str, Use] = {}

    def get(self, id: str) -> Use:
        return self._uses.get(id, NOTHING)

    def note(self, id: str, use: Use) -> None:
        was = self._uses.pop(id, NOTHING)
        if use != NOTHING:
            self._uses[id] = use
        if use != was:
            self.total = Use(*(whole - old + new for whole, old, new in zip(self.total, was, use, strict=True)))


class Quotas:
    """The limits of all tenants, what they have, and what is claimed."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.give_way: Callable[[TenantId, str], bool] = lambda *_: False  # frees some of a limit; False: it cannot
        self._tallies: dict[TenantId, Tally] = {}
        self._claims: dict[TenantId, list[Mapping[str, Use]]] = {}

    def note(self, tenant: TenantId, id: str, use: Use) -> None:
        """What is recorded of a thing counts for this much now."""
        self._tallies.setdefault(tenant, Tally()).note(id, use)

    def note_machine(self, machine: Machine) -> None:
        """The same of a machine, as its record is."""
        self.note(machine.tenant, machine.id, of_machine(machine))

    @contextlib.contextmanager
    def claim(self, tenant: TenantId, wanted: Mapping[K, Use], is_yielding: bool = False) -> Iterator[None]:
        """Let things of these ids count for this much while in here, recorded or not. `QuotaExceeded`: all or none.

        `is_yielding`: nothing makes room for it.
        """
        while True:
            try:
                self._check(tenant, wanted)
            except errors.QuotaExceeded as error:
                if is_yielding or not self.give_way(tenant, str(error.context["limit"])):
                    raise
            else:
                break
        claims = self._claims.setdefault(tenant, [])
        claim: Mapping[str, Use] = dict(wanted.items())
        claims.append(claim)
        try:
            yield
        finally:
            claims[:] = [other for other in claims if other is not claim]
            if not claims:
                self._claims.pop(tenant, None)

    def _check(self, tenant: TenantId, wanted: Mapping[K, Use]) -> None:
        limits = self._accounts.limits(tenant)
        if any(getattr(limits, name) is not None for name in Use._fields):
            before = self._claimed(tenant, wanted)
            more = _sum(_difference(before[id], use) for id, use in wanted.items())
            check(limits, self.used(tenant), more)

    def used(self, tenant: TenantId) -> Use:
        """What it has now, and what is being made for it."""
        tally = self._tallies.get(tenant, Tally())
        more = (_difference(tally.get(id), use) for id, use in self._claimed(tenant, ()).items())
        return _sum([tally.total, *more])

    def _claimed(self, tenant: TenantId, ids: Iterable[str]) -> dict[str, Use]:
        """What these count for, and all that is claimed: the larger of record and claims."""
        tally = self._tallies.get(tenant, Tally())
        counted = {id: tally.get(id) for id in ids}
        for claim in self._claims.get(tenant, ()):
            for id, use in claim.items():
                counted[id] = Use(*map(max, counted.get(id) or tally.get(id), use))
        return counted


def of_volume(volume: Volume) -> Use:
    """What it counts for."""
    return Use(volumes=1, disk_gib=volume.size_gib)


SNAPSHOT = Use(snapshots=1)


def _sum(uses: Iterable[Use]) -> Use:
    return Use(*map(sum, zip(NOTHING, *uses, strict=True)))


def _difference(before: Use, wanted: Use) -> Use:
    """How much more it is than before."""
    return Use(*(max(0, new - old) for old, new in zip(before, wanted, strict=True)))
