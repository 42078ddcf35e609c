"""Spare processes: a few that map a recently used memory already, and wait to become a machine or a copy of one.

That is a template's, or one of a saved state.

Starting QEMU is a good part of a restore; a machine that finds a spare saves it. Spares are known to nobody else: they
are in no journal, end with the service, and are ended as strays if that died. They hold little memory, since nothing
has run in them, and are the first to go when memory is short.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from hutch.host.machines import bring_up, hardware
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.paths import Paths
from hutch.host.qemu import vm
from hutch.model import errors, ids
from hutch.model.ids import MachineId
from hutch.model.machine import NetworkPolicy

log = structlog.get_logger(__name__)

KINDS = 3
"""So many kinds are kept: the last used ones."""

UNUSED = 600.0
"""Seconds after which a kind that nobody asked for is given up."""

DELAY = 0.5
"""Seconds after the last start until the next spare is made: starts and their first commands go first."""


@dataclass(eq=False)
class Spare:
    """One process and what it stands on."""

    journal: Journal
    machine: vm.Vm
    mapped: tuple[int, int]  # the memory file, which may have been made anew since: a template's

    @property
    def is_alive(self) -> bool:
        """Whether its process still runs."""
        return not self.machine.watch.ended.is_set()


@dataclass(eq=False)
class _Kind:
    model: Journal
    used_at: float = field(default_factory=time.monotonic)
    ready: list[Spare] = field(default_factory=list)


Key = tuple[str, str | None, int, NetworkPolicy]
"""The template, the saved state's memory if it is not the template's, the disk's size in GiB, the policy."""


class Spares:
    """The spare processes of one host."""

    def __init__(
        self,
        paths: Paths,
        count: int,
        free_uid: Callable[[], int | None],
        base: Callable[[NetworkPolicy], NetworkPolicy],
    ) -> None:
        """`count` of each kind; `base` tells what a process is started with that is to come under a policy."""
        self._paths = paths
        self._count = count
        self._free_uid = free_uid
        self._base = base
        self._kinds: dict[Key, _Kind] = {}
        self._making: Journal | None = None
        self._given_up: list[Spare] = []  # to be ended
        self._ending: asyncio.Task[None] | None = None
        self._refilling: asyncio.Task[None] | None = None

    @property
    def journals(self) -> list[Journal]:
        """Of all that run, or are about to."""
        making = [self._making] if self._making is not None else []
        return [*self._ready(), *making, *(spare.journal for spare in self._given_up)]

    @property
    def wanted(self) -> list[Journal]:
        """Of those whose disk layers must stay: of what is given up nothing is needed any more."""
        making = self._making
        if making is None or making.memory not in {memory for _, memory, _, _ in self._kinds}:
            return self._ready()
        return [*self._ready(), making]

    def _ready(self) -> list[Journal]:
        return [spare.journal for kind in self._kinds.values() for spare in kind.ready]

    def take(self, context: Context, journal: Journal, disk_gib: int, layers: tuple[str, ...] = ()) -> Spare | None:
        """One that can become this machine, whose memory it maps, with a disk of that size; it is the caller's then.

        `layers` are those of the disk over the template's: of its own ones, all but the last are the first of these.
        """
        memory = hardware.shared_memory(context, journal)
        kind = self._kinds.get(self._key(journal, disk_gib))
        while memory is not None and kind is not None and kind.ready:
            below = kind.ready[0].journal.layers[:-1]
            if layers[: len(below)] != below:
                return None
            spare = kind.ready.pop(0)
            if spare.is_alive and spare.mapped == _identity(memory):
                return spare
            self._give_up([spare])
        return None

    def refill(self, context: Context, journal: Journal) -> None:
        """Note that a machine of this kind was started, and make what is missing in the background."""
        if not self._count or journal.template is None or journal.spec.mounts:
            return  # a spare would have the volumes open
        if journal.memory is not None:
            state = context.states.whole(journal.memory)
            below = None if state is None else (state.disk_gib, state.layers)
        else:
            template = context.engine.templates.read(journal.template) if journal.on_template else None
            below = None if template is None else (template.disk_gib, ())
        if below is None:
            return  # no other machine will ever map its memory
        key = self._key(journal, below[0])
        kind = self._kinds.pop(key, None) or _Kind(_model(journal, key[-1], *below))
        kind.used_at = self._used_at = time.monotonic()
        self._kinds[key] = kind  # the last used one last
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._refill(context), name="spares")

    def _key(self, journal: Journal, disk_gib: int) -> Key:
        assert journal.template is not None
        return journal.template, journal.memory, disk_gib, self._base(journal.spec.network)

    async def _refill(self, context: Context) -> None:
        while True:
            if (wait := self._used_at + DELAY - time.monotonic()) > 0:
                await asyncio.sleep(wait)
                continue
            for key in [*self._kinds][:-KINDS]:
                self._give_up(self._kinds.pop(key).ready)
            kind = next((kind for kind in reversed(self._kinds.values()) if len(kind.ready) < self._count), None)
            if kind is None:
                return
            try:
                spare = await self._make(context, kind.model)
            except (errors.HutchError, OSError) as error:
                log.info("no spare process could be made", error=str(error))
                self._kinds = {key: it for key, it in self._kinds.items() if it is not kind}  # until it is asked for
                continue
            if kind in self._kinds.values():
                kind.ready.append(spare)
            else:  # nobody wants that kind any more
                self._give_up([spare])

    async def _make(self, context: Context, model: Journal) -> Spare:
        assert model.template is not None
        template = context.engine.templates.read(model.template)
        if template is None:
            raise errors.NotFound("its template is gone")
        below = context.paths.layer(model.layers[-1]) if model.layers else template.paths.disk
        blank = template.paths.blank if model.disk_gib == template.disk_gib else None
        async with context.layers.fresh(below, model.disk_gib, blank) as layer:
            name = MachineId(f"spare-{ids.random_id(8)}")
            layers = (*model.layers, layer)
            journal = replace(model, id=name, uid=self._free_uid(), run=ids.random_id(), layers=layers)
            self._making = journal
            try:
                memory = hardware.shared_memory(context, journal)
                assert memory is not None
                mapped = _identity(memory)
                machine = await bring_up.launch(context, journal, lambda _: None, incoming=True)
                return Spare(journal, machine, mapped)
            except BaseException:
                self._remove_run(journal)
                raise
            finally:
                self._making = None

    def trim(self, is_memory_short: bool) -> None:
        """Give up those that nobody asked for in a while; all, when memory is short."""
        for key, kind in [*self._kinds.items()]:
            if is_memory_short or time.monotonic() - kind.used_at > UNUSED:
                del self._kinds[key]
                self._give_up(kind.ready)

    def keep(self, memories: set[str]) -> None:
        """Give up those of saved states' memories that are none of these."""
        for key, kind in [*self._kinds.items()]:
            if key[1] is not None and key[1] not in memories:
                del self._kinds[key]
                self._give_up(kind.ready)

    def drop(self, image: str) -> None:
        """Give up those of an image that is removed."""
        for key, kind in [*self._kinds.items()]:
            if kind.model.spec.image.digest == image:
                del self._kinds[key]
                self._give_up(kind.ready)

    async def close(self) -> None:
        """End all."""
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.gather(self._refilling, return_exceptions=True)
        self.trim(is_memory_short=True)
        if self._ending is not None:
            await self._ending

    def _give_up(self, spares: list[Spare]) -> None:
        """End them in the background."""
        self._given_up += spares
        if self._given_up and (self._ending is None or self._ending.done()):
            self._ending = asyncio.create_task(self._end(), name="spares given up")

    async def _end(self) -> None:
        while self._given_up:
            spare = self._given_up[0]
            try:
                await spare.machine.kill()
            except errors.HutchError as error:
                log.warning("a spare process cannot be ended", error=error.message)
            self._remove_run(spare.journal)
            self._paths.layer(spare.journal.layers[-1]).unlink(missing_ok=True)
            self._given_up.remove(spare)

    def _remove_run(self, journal: Journal) -> None:
        assert journal.run is not None
        shutil.rmtree(self._paths.run(journal.run).root, ignore_errors=True)


def _model(journal: Journal, network: NetworkPolicy, disk_gib: int, layers: tuple[str, ...]) -> Journal:
    """What those of a machine's kind begin with: its memory, and the disk that layers of their own stand on."""
    return Journal(
        MachineId("spare"),
        replace(journal.spec, network=network),
        None,
        template=journal.template,
        layers=layers,
        disk_gib=disk_gib,
        on_template=journal.on_template,
        memory=journal.memory,
    )


def _identity(path: Path) -> tuple[int, int]:
    """Which file it is, whatever its name."""
    status = path.stat()
    return status.st_dev, status.st_ino
