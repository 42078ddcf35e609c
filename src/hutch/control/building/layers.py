"""The steps of a layer, in the one order in which each finds what it needs: people, files, packages, code, services."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hutch.control.building import checking, packages, people, repositories
from hutch.control.building.site import Site
from hutch.model import errors
from hutch.model.recipes import File, Layer, UnitMode

READY_TIMEOUT = 120.0
"""Seconds a guest has to get ready unless the layer says otherwise."""

_AS_LONG_AS_THE_BUILD = 7 * 86400.0
"""Seconds: a oneshot's own time is limited by its unit and by the build's budget."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a layer, by the name of its phase."""

    title: str
    run: Callable[[Site], Awaitable[None]]


def steps_of(layer: Layer) -> tuple[Step, ...]:
    """What is to be done for it, in order; nothing is done yet."""
    steps: list[Step] = []

    def add(title: str, is_there: object, run: Callable[[Site], Awaitable[None]]) -> None:
        if is_there:
            steps.append(Step(title, run))

    add("make groups", layer.groups, lambda site: people.make_groups(site, layer.groups))
    add("make users", layer.users, lambda site: people.make_users(site, layer.users))
    add("write files", layer.files, lambda site: _write(site, layer.files))
    add("install packages", layer.packages, lambda site: packages.install(site, sorted(set(layer.packages))))
    if layer.git is not None:
        identity = layer.git
        add("configure git", True, lambda site: repositories.set_identity(site, identity))
    add("clone repositories", layer.repositories, lambda site: repositories.clone_all(site, layer.repositories))
    add("set up services", layer.units or layer.patches, lambda site: _set_up_services(site, layer))
    if layer.workdir is not None:
        workdir = layer.workdir
        add("make working directory", True, lambda site: site.inside.make_directory(workdir))
    if layer.waits_until_ready:
        limit = layer.ready_timeout or READY_TIMEOUT
        add("wait until ready", True, lambda site: site.services.wait_ready(site.principal, site.inside.machine, limit))
    return tuple(steps)


async def _write(site: Site, files: Sequence[File]) -> None:
    for file in sorted(files, key=lambda it: it.path):
        await site.inside.write(checking.normalized(file.path), file.content, file.mode)


async def _set_up_services(site: Site, layer: Layer) -> None:
    """A oneshot has ended well before its layer is whole; any other has been started."""
    machine = site.inside.machine
    await site.services.create(site.principal, machine, *layer.units)
    for patch in layer.patches:
        await site.services.patch(site.principal, machine, patch)
    oneshots = [unit.name for unit in layer.units if unit.mode is UnitMode.ONESHOT]
    for ended in await site.services.finished(site.principal, machine, oneshots, _AS_LONG_AS_THE_BUILD):
        if not ended.is_done:
            raise errors.GuestError(f"service {ended.name} failed: {ended.message}")
