"""What a former service left: its journals are read, running machines adopted, the rest finished or undone."""

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path

import structlog

from hutch import settings
from hutch.host.machines import journal as journals
from hutch.host.machines import upgrade
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal, Phase
from hutch.host.machines.owner import Owner
from hutch.host.qemu import process, vm
from hutch.host.templates.templates import TEMPLATE_IDS
from hutch.model import errors
from hutch.model.ids import MachineId

log = structlog.get_logger(__name__)

AT_ONCE = 8

Owners = dict[MachineId, Owner]


async def take_up(context: Context, host: settings.Host, owners: Owners) -> None:
    """Fill `owners` with every machine there is; processes that no journal tells of are ended."""
    upgrade.upgrade(context.paths)
    await _end_strays(context, host)
    at_once = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_safely(context, owners, entry, at_once) for entry in context.paths.machines.iterdir()))


async def _end_strays(context: Context, host: settings.Host) -> None:
    """End processes of ours that no journal tells of: a service died between starting one and writing it down."""
    paths = context.paths
    known, readable = set(), set()
    for entry in paths.machines.iterdir():
        journal = journals.read(entry / "machine.json")
        if journal is not None:
            readable.add(f"{paths.tag}/{journal.id}")
            known.add(journal.process)

    def is_ours(uid: int) -> bool:
        """Any user can give a program our name."""
        ids = range(host.uid_base, host.uid_base + host.uid_count + TEMPLATE_IDS)
        return uid == os.geteuid() or (os.geteuid() == 0 and uid in ids)

    for name, identity in process.processes_named(f"{paths.tag}/", is_ours):
        unread = paths.machine(MachineId(name.partition("/")[2])).root.exists() and name not in readable
        if identity in known or unread:
            continue
        log.warning("ending a stray process", name=name, pid=identity.pid)
        with suppress(errors.MachineFailed):  # then it has ended at the latest when the host is rebooted
            await process.end(identity)


async def _safely(context: Context, owners: Owners, entry: Path, at_once: asyncio.Semaphore) -> None:
    """One machine that cannot be taken up must not keep the others."""
    async with at_once:
        try:
            await _take_up(context, owners, entry)
        except (errors.HutchError, OSError) as error:
            log.error("a machine cannot be taken up", directory=entry.name, error=str(error))


async def _take_up(context: Context, owners: Owners, entry: Path) -> None:
    """Adopt, finish or undo one machine found on disk."""
    journal = journals.read(entry / "machine.json")
    if journal is None or journal.id != entry.name:
        if entry.name.startswith(".gone-") or not (entry / "machine.json").exists():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            log.error("a machine's journal cannot be read: its disk is left as it is", directory=str(entry))
            context.layers.is_frozen = True
        return
    identity = journal.process
    is_alive = identity is not None and process.is_alive(identity)
    owner = Owner(context, journal)
    owners[journal.id] = owner
    match journal.phase:
        case Phase.RUNNING | Phase.PAUSED | Phase.WAKING | Phase.SUSPENDING if is_alive:
            await _adopt(context, owner)
        case Phase.RUNNING | Phase.PAUSED | Phase.WAKING:
            _note_death(context, owner, "it died while the service was away")
        case Phase.SUSPENDING if journal.saved is not None and _is_whole(context, journal):
            owner.settle(Phase.SUSPENDED)
        case Phase.SUSPENDING:
            _note_death(context, owner, "it died while it was being suspended")
        case Phase.STARTING | Phase.STOPPING:
            if identity is not None and is_alive:
                await process.end(identity)
            keeps = journal.phase is Phase.STARTING and journal.saved is not None
            owner.settle(Phase.SUSPENDED if keeps else Phase.STOPPED)
        case Phase.DESTROYING:
            if identity is not None and is_alive:
                await process.end(identity)
            await owner.destroy()
            del owners[journal.id]
        case Phase.STOPPED | Phase.FAILED | Phase.SUSPENDED:
            if identity is not None and is_alive:
                await process.end(identity)


def _is_whole(context: Context, journal: Journal) -> bool:
    """Whether the state it was being suspended in has its manifest, which is written last."""
    return journal.saved in {state.id for state in context.states.all()}


def _note_death(context: Context, owner: Owner, what: str) -> None:
    run = owner.journal.run
    words = vm.last_words(context.paths.run(run), owner.console.data) if run is not None else "nothing is left of it"
    owner.settle(Phase.FAILED, f"{what}: {words}")


async def _adopt(context: Context, owner: Owner) -> None:
    try:
        await owner.adopt()
    except (errors.HutchError, OSError) as error:
        log.warning("cannot adopt", machine=owner.journal.id, error=str(error))
        assert owner.journal.process is not None
        await process.end(owner.journal.process)
        context.engine.launcher.networks.abandon(owner.journal.process.slot)
        owner.settle(Phase.FAILED, f"it could not be reached after a restart of the service: {error}")
