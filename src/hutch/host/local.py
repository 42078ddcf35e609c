"""This box as a host: real machines under QEMU. It passes the contract suite that `host/simulated` passes too."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from hutch import commands, settings
from hutch.host import boot_files, consoles, disks, facts, files, mounts, trash
from hutch.host.guests import GuestFiles, GuestProcesses
from hutch.host.images.local import LocalImages
from hutch.host.interface import (
    START,
    Capacity,
    Console,
    Cursor,
    Died,
    HostInfo,
    HostMachine,
    OnProgress,
    SavedState,
    ignore_progress,
)
from hutch.host.layers import Layers
from hutch.host.machines import adoption, optimize, shape
from hutch.host.machines.context import Context, Engine
from hutch.host.machines.identity import MAIN
from hutch.host.machines.journal import Journal, Phase
from hutch.host.machines.owner import Owner
from hutch.host.machines.spares import Spares
from hutch.host.network import firewall
from hutch.host.network.connector import LocalConnector
from hutch.host.networks import LocalNetworks
from hutch.host.paths import Paths
from hutch.host.qemu import accelerator, process, tsc, vm
from hutch.host.saved.states import States
from hutch.host.templates.templates import TEMPLATE_IDS, Templates
from hutch.host.trash import Trash
from hutch.host.volumes import LocalVolumes
from hutch.model import errors, guest
from hutch.model.facts import ProcessFacts
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import MachineSpec

log = structlog.get_logger(__name__)

MIB = 2**20
QEMU_LOG_LIMIT = MIB
SWEEP_INTERVAL = 30.0
AGENT_BINARY = Path(__file__).parent.parent / "_guest" / "hutch-agent"
"""Built by `guest/build`; carried by the wheel."""


class LocalHost:
    """Implements `hutch.host.interface.Host`."""

    def __init__(self, wanted: settings.Settings, paths: Paths) -> None:
        self._settings = wanted.host
        self._paths = paths
        self._owners: dict[MachineId, Owner] = {}
        self._died: asyncio.Queue[Died] = asyncio.Queue()
        self._verdict: accelerator.Verdict | None = None
        self._context: Context | None = None
        self._trash = Trash()
        self._layers = Layers(paths, self._trash)
        self._root = os.geteuid() == 0
        first_group = wanted.host.uid_base + wanted.host.uid_count if self._root else None
        self._states = States(paths, self._layers, self._trash, first_group)
        self._connector = LocalConnector(paths, wanted.network)
        self._spares = Spares(paths, wanted.host.spare_processes, self._free_uid, self._connector.base)
        self._reserved: set[int | None] = set()  # user ids of machines that are just being made
        self._sweeping: asyncio.Task[None] | None = None
        self._is_protected = False
        self._agent_version = "unknown"
        self.volumes = LocalVolumes(paths, self._journals, self._layers, self._trash, wanted.host.disk_reserve_mib)
        self._local_images = LocalImages(
            paths, wanted.images, wanted.host, in_use=self._machines_of, on_remove=self._drop_templates
        )
        self.images = self._local_images
        self.processes = GuestProcesses(self._owner, self._local_images)
        self.files = GuestFiles(self._owner)
        self.networks = LocalNetworks(self._owner)

    async def open(self) -> list[HostMachine]:
        """Fetch the kernel if need be, choose the accelerator, adopt what runs. Raises `Unsupported`, `DiskFull`."""
        paths = self._paths
        paths.home.mkdir(parents=True, exist_ok=True)
        for directory in (paths.machines, paths.templates, paths.layers, paths.states, paths.memories, paths.runs):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o700)  # guests' disks and memory: QEMU gets what it needs as descriptors
        await self._local_images.open()
        await self._connector.open()
        self._context = await self._make_context()
        self._context.engine.templates.open()
        await self._protect(is_known=False)
        trash.clear(paths.layers)
        self._states.open()
        self.volumes.open()
        await adoption.take_up(self._context, self._settings, self._owners)
        await self._connector.collect(is_known := not self._layers.is_frozen)
        await self._protect(is_known)
        self._collect()
        self._sweeping = asyncio.create_task(self._sweep())
        return [owner.state for owner in self._owners.values()]

    async def close(self) -> None:
        """Let go; running machines run on."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await self._spares.close()
        await asyncio.gather(*(owner.close() for owner in self._owners.values()))
        self._owners.clear()
        await self._connector.close()
        if self._root and not any(process.processes_named(f"{self._paths.tag}/")):  # also what was not taken up
            await firewall.release(self._paths.tag)
        await self._trash.empty()
        await self._local_images.close()

    def info(self) -> HostInfo:
        """What machines are run with."""
        context, verdict = self._opened(), self._verdict
        assert verdict is not None
        isolation = "own uid per machine, seccomp, no capabilities" if self._root else "seccomp; not root: no own uid"
        isolation += ", own network namespace" if self._connector.has_slots else "; QEMU's user network"
        version = f"qemu {context.engine.vmm}"
        return HostInfo(verdict.accelerator, verdict.reason, version, self._agent_version, isolation)

    async def capacity(self) -> Capacity:
        """The box's size less the reserve, and what is free of it now."""
        memory = {
            line.split(":")[0]: int(line.split()[1]) // 1024 for line in Path("/proc/meminfo").read_text().splitlines()
        }
        disk = shutil.disk_usage(self._paths.home)
        reserve = self._settings.memory_reserve_mib
        return Capacity(
            cpus=os.cpu_count() or 1,
            memory_mib=max(0, memory["MemTotal"] - reserve),
            memory_free_mib=max(0, memory["MemAvailable"] - reserve),
            disk_gib=disk.total // disks.GIB,
            disk_free_gib=max(0, disk.free // MIB - self._settings.disk_reserve_mib) // 1024,
        )

    async def create(self, machine: MachineId, spec: MachineSpec, snapshot: SnapshotId | None = None) -> None:
        """A directory and a journal entry; of a snapshot also a disk layer of its own."""
        if machine in self._owners:
            return
        mounts.check(spec.mounts)
        files.require_space(self._paths.machines, self._settings.disk_reserve_mib * MIB, "a machine")
        entry = Journal(machine, spec, self._free_uid())
        if snapshot is None:
            self._begin(entry)
            return
        shape.check(spec, self._states.snapshot(snapshot))
        self._reserved.add(entry.uid)
        try:
            with self._states.pinned(snapshot) as manifest:
                async with shape.standing_on(self._opened(), entry, manifest) as journal:
                    self._states.snapshot(snapshot)  # it may have been removed meanwhile
                    self._begin(journal)
        finally:
            self._reserved.discard(entry.uid)

    def _begin(self, entry: Journal) -> None:
        self.volumes.check_there(entry.spec.mounts)
        where = self._paths.machine(entry.id)
        where.root.mkdir(mode=0o700, exist_ok=True)
        try:
            entry.write(where.journal)
            files.sync_directory(self._paths.machines)
        except errors.DiskFull:
            shutil.rmtree(where.root, ignore_errors=True)
            raise
        self._owners[entry.id] = Owner(self._opened(), entry)

    async def start(self, machine: MachineId, on_progress: OnProgress = ignore_progress) -> None:
        """See the interface."""
        await self._owner(machine).start(on_progress)

    async def stop(self, machine: MachineId, grace: float) -> None:
        """See the interface."""
        await self._owner(machine).stop(grace)

    async def destroy(self, machine: MachineId) -> None:
        """See the interface."""
        owner = self._owners.get(machine)
        if owner is not None:
            await owner.destroy()
            self._owners.pop(machine, None)
            self._collect_unused()
            await self._trash.empty()

    async def pause(self, machine: MachineId) -> None:
        """See the interface."""
        await self._owner(machine).pause()

    async def resume(self, machine: MachineId) -> None:
        """See the interface."""
        await self._owner(machine).resume()

    async def suspend(self, machine: MachineId) -> None:
        """See the interface."""
        await self._owner(machine).suspend()

    async def snapshot(self, machine: MachineId, snapshot: SnapshotId, transient: bool = False) -> SavedState:
        """See the interface."""
        return await self._owner(machine).snapshot(snapshot, transient)

    async def rollback(self, machine: MachineId, snapshot: SnapshotId) -> None:
        """See the interface."""
        await self._owner(machine).rollback(snapshot)

    async def claim(self, machine: MachineId, spare: MachineId) -> None:
        """See the interface."""
        mine, theirs = self._owner(machine), self._owner(spare)
        try:
            await mine.claim(theirs)
        finally:
            if theirs.gone:
                self._owners.pop(spare, None)
                shutil.rmtree(self._paths.machine(spare).root, ignore_errors=True)
                self._collect_unused()

    async def resize(self, machine: MachineId, disk_gib: int) -> None:
        """See the interface."""
        await self._owner(machine).resize(disk_gib)

    async def reshape(self, machine: MachineId, cpus: int, memory_mib: int) -> None:
        """See the interface."""
        await self._owner(machine).reshape(cpus, memory_mib)

    async def optimize(self, snapshot: SnapshotId) -> None:
        """See the interface."""
        self._states.snapshot(snapshot)
        await optimize.optimize(self._opened(), snapshot)

    async def optimize_machine(self, machine: MachineId) -> None:
        """See the interface."""
        await optimize.optimize(self._opened(), self._owner(machine).saved)

    def snapshots(self) -> list[SavedState]:
        """See the interface."""
        return self._states.kept()

    async def verify(self, snapshot: SnapshotId) -> list[str]:
        """See the interface."""
        return await self._states.verify(snapshot)

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        """See the interface."""
        is_used = any(owner.journal.saved == snapshot for owner in self._owners.values())
        is_known = any(state.id == snapshot for state in self._states.all())
        self._states.remove(snapshot, is_used or (self._layers.is_frozen and is_known))
        self._collect_unused()
        await self._trash.empty()

    async def storage(self, machine: MachineId) -> int:
        """See the interface."""
        journal = self._owner(machine).journal
        saved = [state for state in self._states.all() if state.id == journal.saved]
        return self._layers.size(journal.layers[-1]) * bool(journal.layers) + sum(map(self._states.memory_size, saved))

    def get(self, machine: MachineId) -> HostMachine | None:
        """See the interface."""
        owner = self._owners.get(machine)
        return owner.state if owner is not None and not owner.gone else None

    def facts(self, machine: MachineId) -> ProcessFacts:
        """See the interface."""
        return facts.find(self._opened(), self._owner(machine).journal)

    async def stats(self, machine: MachineId) -> guest.GuestStats:
        """See the interface."""
        return await (await self._owner(machine).agent()).stats()

    async def console(self, machine: MachineId, since: Cursor = START) -> Console:
        """See the interface."""
        owner = self._owner(machine)
        told = owner.console.since(since)
        if owner.journal.spec.command and owner.journal.phase is Phase.RUNNING:
            told = await consoles.with_command(told, self.processes, machine, MAIN)
        return told

    async def deaths(self) -> AsyncIterator[Died]:
        """See the interface."""
        while True:
            yield await self._died.get()

    def _opened(self) -> Context:
        if self._context is None:
            raise errors.HutchError("the host is not open")
        return self._context

    def _owner(self, machine: MachineId) -> Owner:
        try:
            return self._owners[machine]
        except KeyError:
            raise errors.NotFound("machine not found") from None

    async def _protect(self, is_known: bool) -> None:
        """Keep machines' processes from what is not theirs; until it `is_known` which have slots, not from all."""
        if not self._root:
            return
        living = [owner.journal.process for owner in self._owners.values() if owner.connection is not None]
        has_slots = self._connector.has_slots and all(it is not None and it.slot is not None for it in living)
        base = self._settings.uid_base
        last = base + self._settings.uid_count + TEMPLATE_IDS
        self._is_protected |= await firewall.protect(self._paths.tag, base, last, is_silent=is_known and has_slots)

    async def _stay_protected(self) -> None:
        """Put back rules that somebody has removed with all others, as restarting nftables does."""
        if not self._is_protected:
            return
        try:
            if not await firewall.is_loaded(self._paths.tag):
                log.warning("this host's rules for machines were removed: they are put back")
                await self._connector.put_back()
                await self._protect(is_known=not self._layers.is_frozen)
        except errors.HutchError as error:
            log.warning("this host's rules for machines cannot be looked after", error=error.message)

    async def _make_context(self) -> Context:
        boot = await boot_files.ensure_boot_files(self._paths, AGENT_BINARY, _log_progress)
        launcher = vm.Launcher(self._settings, boot, self._paths.tag, self._connector)
        version = await accelerator.qemu_version(self._settings.qemu)
        await asyncio.to_thread(tsc.khz)  # asks the kernel's log once
        told = await commands.run([str(AGENT_BINARY), "--version"], timeout=10)
        self._agent_version = told.stdout.decode().split()[-1]
        scratch = self._paths.templates / ".kvm-trial"
        self._verdict = await accelerator.choose(
            self._settings.accelerator,
            version,
            self._paths.accelerator,
            lambda: accelerator.kvm_trial(launcher, scratch, self._settings.uid_base if self._root else None),
        )
        templates = Templates(self._paths, self._settings, launcher, self._root, self._stands_on)
        engine = Engine(launcher, templates, self._verdict.accelerator, version)
        return Context(
            self._paths,
            self._settings,
            self._local_images,
            self._layers,
            self._states,
            self._spares,
            self.volumes,
            engine,
            self._died.put_nowait,
            self._collect_unused,
        )

    async def _sweep(self) -> None:
        """Keep QEMU's logs short (a hostile guest can make it complain for ever), spares few, and rules in force."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            await self._stay_protected()
            for run in self._paths.runs.iterdir():
                path = self._paths.run(run.name).qemu_log
                with contextlib.suppress(OSError):
                    if path.stat().st_size > QEMU_LOG_LIMIT:
                        os.truncate(path, 0)
            self._spares.trim(is_memory_short=(await self.capacity()).memory_free_mib == 0)

    def _collect(self) -> None:
        """Remove what a newer kernel, agent or QEMU has replaced, unless a machine's disk stands on it."""
        engine = self._opened().engine
        if not self._layers.is_frozen:
            journals = [owner.journal for owner in self._owners.values()]
            used = {journal.template for journal in journals} | {state.template for state in self._states.all()}
            engine.templates.collect({key for key in used if key is not None})
            self._collect_unused()
            runs = {journal.run for journal in journals}
            for run in self._paths.runs.iterdir():
                if run.name not in runs:
                    shutil.rmtree(run, ignore_errors=True)
        for directory in self._paths.boot.iterdir():
            is_build = (directory / "initramfs.cpio").exists()
            if is_build and directory != engine.launcher.boot.kernel.parent:
                shutil.rmtree(directory, ignore_errors=True)

    def _collect_unused(self) -> None:
        """Remove the saved states, memories and disk layers that nothing needs any more, if what is needed is known."""
        if self._layers.is_frozen:
            return
        owners = self._journals()
        self._states.collect({journal.saved for journal in owners if journal.saved is not None})
        needed, named = self._states.needed(), self._states.memories_named()
        self._spares.keep(named)
        of_machines = {layer for journal in (*owners, *self._spares.wanted) for layer in journal.layers}
        self._layers.collect(of_machines | {layer for state in needed for layer in state.layers})
        self._states.memories.collect(named | {it.mapped for it in owners if it.mapped is not None})

    def _free_uid(self) -> int | None:
        if not self._root:
            return None
        used = {owner.journal.uid for owner in self._owners.values()} | self._reserved
        used |= {journal.uid for journal in self._spares.journals}
        for uid in range(self._settings.uid_base, self._settings.uid_base + self._settings.uid_count):
            if uid not in used:
                return uid
        raise errors.NoCapacity(f"all {self._settings.uid_count} user ids of this host's machines are taken")

    def _journals(self) -> list[Journal]:
        return [owner.journal for owner in self._owners.values()]

    def _machines_of(self, digest: str) -> list[str]:
        """What stands on an image."""
        machines = [owner.journal.id for owner in self._owners.values() if owner.journal.spec.image.digest == digest]
        return machines + [state.id for state in self._states.all() if state.kept and state.spec.image.digest == digest]

    def _stands_on(self, template: str) -> bool:
        """Whether a machine's disk or a saved state needs a template, as far as is known."""
        booted = {owner.journal.template for owner in self._owners.values() if owner.journal.booted}
        return self._layers.is_frozen or template in booted | {state.template for state in self._states.all()}

    def _drop_templates(self, digest: str) -> None:
        self._opened().engine.templates.remove_of_image(digest)
        self._spares.drop(digest)


def _log_progress(progress: object) -> None:
    log.info("preparing the host", progress=str(progress))
