"""Templates: a machine booted once, frozen, and mapped by every machine that starts from it.

The first boot runs with its memory shared to a file; when the guest is up, its device state is saved and the process
ends. Memory file, device state and disk layer are immutable from the moment the manifest is in place, which is last.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from hutch import settings
from hutch.host import disks, files
from hutch.host.agent.client import Agent
from hutch.host.interface import Image, OnProgress, Progress
from hutch.host.paths import Paths, RunPaths, TemplatePaths
from hutch.host.qemu import argv, guest_network, process, vm
from hutch.host.saved import memory
from hutch.host.templates.manifest import FORMAT, Recipe
from hutch.model import errors, guest
from hutch.model.machine import NetworkMode, NetworkPolicy

log = structlog.get_logger(__name__)

MIB = 2**20

TEMPLATE_IDS = 2**24
"""How many group ids templates share, above the user ids of machines: two of them meet once in 16 million."""

WARM_UP = (("sh", "-lc", "true"), ("python3", "-c", "pass"), ("node", "-e", "0"))
"""Run before the freeze where the image has them: what they read stays in the guest's page cache for every clone."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template that may be loaded."""

    key: str
    disk_gib: int
    paths: TemplatePaths


class Templates:
    """The templates of one host."""

    def __init__(
        self,
        paths: Paths,
        host: settings.Host,
        launcher: vm.Launcher,
        root: bool,
        is_used: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`is_used` tells whether disks stand on a template."""
        self._is_used = is_used
        self._paths = paths
        self._settings = host
        self._launcher = launcher
        self._root = root
        self._making: dict[str, asyncio.Task[Template]] = {}
        self._watchers: dict[str, list[OnProgress]] = {}

    def recipe(self, image: Image, board: argv.Board, disk_gib: int, vmm: str) -> Recipe:
        """What a template of this image and shape would be saved with now."""
        model = argv.CPU_MODELS[board.accelerator]
        return Recipe(image.ref.digest, disk_gib, board, model, vmm, self._launcher.boot.digest)

    def open(self) -> None:
        """Remove what an interrupted boot left behind."""
        self._paths.templates.mkdir(parents=True, exist_ok=True)
        for entry in self._paths.templates.iterdir():
            if entry.name.startswith("."):
                shutil.rmtree(entry, ignore_errors=True)

    def collect(self, used: set[str]) -> None:
        """Remove templates that can never be loaded again (another kernel, agent, QEMU or board) and carry no disk."""
        for entry in self._paths.templates.iterdir():
            manifest = files.read_json(TemplatePaths(entry).manifest) or {}
            recipe = manifest.get("recipe", {})
            made_with = recipe.get("boot"), recipe.get("board_version"), recipe.get("format")
            if made_with != (self._launcher.boot.digest, argv.BOARD_VERSION, FORMAT) and entry.name not in used:
                log.info("removing a template that nothing can use", template=entry.name)
                shutil.rmtree(entry, ignore_errors=True)

    def get(self, recipe: Recipe) -> Template | None:
        """The template if it is there and its manifest fits."""
        where = self._paths.template(recipe.key)
        manifest = files.read_json(where.manifest)
        if manifest is None:
            return None
        if differences := recipe.differences(manifest.get("recipe", {})):
            log.warning("template refused", template=recipe.key, differences=differences)
            return None
        if memory.checksum(where.devices) != manifest.get("checksums", {}).get("devices"):
            log.warning("template refused: its device state is not what was saved", template=recipe.key)
            return None
        return Template(recipe.key, recipe.disk_gib, where)

    def read(self, key: str) -> Template | None:
        """A template by its key, whatever it was made with."""
        manifest = files.read_json(self._paths.template(key).manifest)
        if manifest is None:
            return None
        recipe = manifest["recipe"]
        return Template(key, recipe["disk_gib"], self._paths.template(key))

    def group(self, key: str) -> int | None:
        """The group that may map a template's memory; None if we are not root."""
        return self._gid(self._paths.template(key))

    async def ensure(self, recipe: Recipe, root_image: Path, on_progress: OnProgress) -> Template:
        """The template, booted now if it is not there; callers at once boot it once. `MachineFailed`, `DiskFull`.

        A caller that is cancelled leaves the work to the others; the last one to leave ends it.
        """
        key = recipe.key
        while (former := self._making.get(key)) is not None and (former.done() or former.cancelling()):
            await asyncio.wait({former})  # its last caller has left: it is being undone
            await asyncio.sleep(0)
        if template := self.get(recipe):
            return template
        watchers = self._watchers.setdefault(key, [])
        watchers.append(on_progress)
        if key not in self._making:
            tell = self._teller(key)
            self._making[key] = asyncio.create_task(self._make(recipe, root_image, tell))
            self._making[key].add_done_callback(lambda _: self._making.pop(key, None))
        task = self._making[key]
        try:
            return await asyncio.shield(task)
        finally:
            watchers.remove(on_progress)
            if not watchers:
                self._watchers.pop(key, None)
                if not task.done():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    def remove_of_image(self, digest: str) -> None:
        """Drop every template made of an image."""
        for entry in self._paths.templates.iterdir():
            manifest = files.read_json(TemplatePaths(entry).manifest)
            if manifest and manifest.get("recipe", {}).get("image") == digest:
                shutil.rmtree(entry, ignore_errors=True)

    def _teller(self, key: str) -> OnProgress:
        def tell(progress: Progress) -> None:
            for watcher in self._watchers.get(key, []):
                watcher(progress)

        return tell

    def _gid(self, where: TemplatePaths) -> int | None:
        return where.memory.stat().st_gid if self._root else None

    async def _make(self, recipe: Recipe, root_image: Path, tell: OnProgress) -> Template:
        final = self._paths.template(recipe.key)
        if final.root.exists() and self._is_used(recipe.key):
            raise errors.Damaged(
                f"template {recipe.key} is damaged, and cannot be made anew while the disks of machines or snapshots "
                "stand on it: remove those first"
            )
        building = TemplatePaths(self._paths.templates / f".{recipe.key}.{os.getpid()}")
        files.require_space(self._paths.templates, recipe.board.memory_mib * MIB + 512 * MIB, "a first boot")
        shutil.rmtree(building.root, ignore_errors=True)
        building.root.mkdir(mode=0o700)
        began = time.monotonic()
        try:
            await disks.make_layer(building.disk, root_image, recipe.disk_gib)
            self._make_memory(building, recipe)
            for index in range(recipe.board.volumes):
                with building.placeholder(index).open("xb") as file:
                    file.truncate(MIB)
            await self._boot_and_freeze(recipe, building, root_image, tell)
            await disks.make_layer(building.blank, building.disk, recipe.disk_gib)
            sums = {
                what: await asyncio.to_thread(memory.checksum, path)
                for what, path in (("memory", building.memory), ("devices", building.devices), ("disk", building.disk))
            }
            seconds = time.monotonic() - began
            manifest = {"recipe": recipe, "made_at": time.time(), "boot_seconds": seconds, "checksums": sums}
            for path in (building.memory, building.devices, building.disk, building.blank):
                await asyncio.to_thread(files.sync, path)
            files.write_json(building.manifest, manifest, durable=True)
            shutil.rmtree(final.root, ignore_errors=True)
            building.root.rename(final.root)
            files.sync_directory(self._paths.templates)
        finally:
            shutil.rmtree(building.root, ignore_errors=True)
        log.info("template made", template=recipe.key, seconds=round(time.monotonic() - began, 1))
        template = self.get(recipe)
        assert template is not None
        return template

    def _make_memory(self, building: TemplatePaths, recipe: Recipe) -> None:
        with building.memory.open("wb") as file:
            file.truncate(recipe.board.memory_mib * MIB)
        if self._root:
            # QEMU 7.2 can map a memory file only if it may write it: so only this template's machines may, by a group.
            gid = self._settings.uid_base + self._settings.uid_count + int(recipe.key, 16) % TEMPLATE_IDS
            os.chown(building.memory, 0, gid)
            building.memory.chmod(0o660)

    async def _boot_and_freeze(
        self, recipe: Recipe, building: TemplatePaths, root_image: Path, tell: OnProgress
    ) -> None:
        where = RunPaths(building.root)
        gid = self._gid(building)
        hardware = vm.Hardware(
            board=recipe.board,
            memory=building.memory,
            layers=(root_image, building.disk),
            shared_memory=True,
            policy=NetworkPolicy(NetworkMode.BLOCKED),  # the image's own programs run, before there is any machine
            grow=True,
            owner=process.Owner(gid, (gid,)) if gid is not None else None,
            volumes=[
                vm.Volume(building.placeholder(index), f"placeholder-{index}", readonly=False)
                for index in range(recipe.board.volumes)
            ],
        )
        tell(Progress("first boot"))
        machine = await vm.Vm.start(self._launcher, f"template-{recipe.key}", where, hardware)
        try:
            agent = await machine.connect_agent(self._settings.boot_timeout)
            await vm.while_alive(machine.watch, self._settle_in_time(agent, tell), machine.last_words)
            tell(Progress("saving the template"))
            await machine.disconnect_agent()
            await machine.monitor.execute("stop")
            await machine.monitor.save_devices(building.devices)
            await machine.end()
        except BaseException:
            await machine.kill()
            raise
        for left in (where.qmp, where.agent, where.console, *map(building.placeholder, range(recipe.board.volumes))):
            left.unlink(missing_ok=True)

    async def _wait_for_systemd(self, agent: Agent) -> None:
        deadline = time.monotonic() + self._settings.boot_timeout
        ask = guest.ProcessSpec(("systemctl", "is-system-running", "--wait"), timeout=self._settings.boot_timeout)
        for attempt in itertools.count():
            state = await _run(agent, f"is-system-running-{attempt}", ask)
            if state in ("running", "degraded"):
                return
            if time.monotonic() > deadline:
                limit = self._settings.boot_timeout
                raise errors.MachineFailed(f"the guest's systemd was still {state or 'silent'} after {limit:g} s")
            await asyncio.sleep(0.1)

    async def _settle_in_time(self, agent: Agent, tell: OnProgress) -> None:
        limit = 2 * self._settings.boot_timeout  # by our own clock: the guest's own limits are the guest's word
        try:
            async with asyncio.timeout(limit):
                await self._settle(agent, tell)
        except TimeoutError as error:
            raise errors.MachineFailed(f"the guest's first boot was not over after {limit:g} s") from error

    async def _settle(self, agent: Agent, tell: OnProgress) -> None:
        """Wait for the guest's own start to be over, then read in what clones will use first."""
        await guest_network.configure(agent)
        tell(Progress("first boot: waiting for the guest's services"))
        if agent.hello.init == "systemd":
            await self._wait_for_systemd(agent)
        tell(Progress("first boot: warming up"))
        for index, words in enumerate(WARM_UP):
            await _run(agent, f"warm-up-{index}", guest.ProcessSpec(words, timeout=60))
        await agent.sync()


async def _run(agent: Agent, process_id: str, spec: guest.ProcessSpec) -> str:
    """What a short command printed, at most a page of it; empty if it cannot be started."""
    text = b""
    with contextlib.suppress(errors.GuestError):
        await agent.processes.start(process_id, spec)
        stdout = stderr = 0
        while True:
            page = await agent.processes.read(process_id, stdout, stderr, wait=30.0)
            text = text or page.stdout
            if page.exit is not None:
                break
            stdout, stderr = page.stdout_at + len(page.stdout), page.stderr_at + len(page.stderr)
        await agent.processes.forget(process_id)
    return text.decode(errors="replace").strip()
