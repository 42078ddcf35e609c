"""Machines that are made of a recipe, run, and are ready: build → snapshot → machine → its domains → ready.

What was built stays for the next one. A machine that does not come to be ready is deleted again. If the caller goes
away while it is built, the build goes on and no machine is made: who asks again finds it built. Later the machine is
made all the same.
"""

import contextlib
import dataclasses
from dataclasses import dataclass

from hutch.control.background import Background
from hutch.control.builds import BuildRequest, Builds
from hutch.control.domains import Domains
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest, Machines
from hutch.control.services import Services
from hutch.control.shelf import Shelf
from hutch.model import errors
from hutch.model.machine import Machine, Snapshot

_SCOPES = frozenset({"machine:read", "machine:exec", "machine:delete"})
"""What whoever may make a machine may do to this one, until it is theirs."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """A machine, and what it is made of if that is to be built first: `machine` names neither image nor snapshot then.

    Where a caller did not say how a machine is to go idle, or which ports it has, those in `machine` count only if its
    snapshot has no default.
    """

    machine: MachineRequest
    build: BuildRequest | None = None
    says_idle: bool = True
    says_ports: bool = True
    domains: tuple[tuple[str, int], ...] = ()  # names of the tenant's own, and the ports they lead to
    ready_within: float | None = None  # seconds; None: it is not waited for
    name_label: str | None = None  # keeps the machine's name where another one has it; None: that is a `Conflict`


class Launches:
    """Makes them."""

    def __init__(
        self,
        machines: Machines,
        builds: Builds,
        services: Services,
        domains: Domains,
        shelf: Shelf,
        background: Background,
    ) -> None:
        self._machines = machines
        self._builds = builds
        self._services = services
        self._domains = domains
        self._shelf = shelf
        self._background = background

    async def launch(self, principal: Principal, request: LaunchRequest) -> Machine:
        """It runs, and is ready, when this returns, or there is none. Needs `machine:create`.

        Raises what `Builds.ensure`, `Machines.launch`, `Domains.add` and `Services.wait_ready` do.
        """
        principal.require("machine:create")
        prepared = await self._prepare(principal, request)
        return await self._background.finish(self._launch(principal, request, prepared))

    async def _launch(self, principal: Principal, request: LaunchRequest, prepared: MachineRequest) -> Machine:
        machine = await self._launch_named(principal, request, prepared)
        owner = dataclasses.replace(principal, scopes=principal.scopes | _SCOPES)
        try:
            for name, port in request.domains:
                await self._domains.add(owner, name, machine.id, port)
            if request.ready_within is not None:
                await self._services.wait_ready(owner, machine.id, request.ready_within)
        except BaseException:
            with contextlib.suppress(errors.HutchError):
                await self._machines.delete(owner, machine.id)
            raise
        return machine

    async def _launch_named(self, principal: Principal, request: LaunchRequest, prepared: MachineRequest) -> Machine:
        name, label = prepared.name, request.name_label
        try:
            return await self._machines.launch(principal, prepared)
        except errors.Conflict:
            if name is None or label is None or not self._machines.is_taken(principal, name):
                raise
        labels = {**prepared.labels, label: name}
        return await self._machines.launch(principal, dataclasses.replace(prepared, name=None, labels=labels))

    async def _prepare(self, principal: Principal, request: LaunchRequest) -> MachineRequest:
        """The machine that is to be made, of what was built."""
        wanted = request.machine
        if request.build is not None:
            snapshot = await self._builds.ensure(principal, request.build)
        elif wanted.snapshot is not None:
            snapshot = self._shelf.whole(principal.tenant, wanted.snapshot)
        else:
            return wanted
        wanted = dataclasses.replace(wanted, image="", snapshot=snapshot.id, build=snapshot.build)
        return _with_defaults(wanted, request, snapshot)


def _with_defaults(wanted: MachineRequest, request: LaunchRequest, snapshot: Snapshot) -> MachineRequest:
    its = snapshot.defaults
    if its.idle is not None and not request.says_idle:
        wanted = dataclasses.replace(wanted, timers=dataclasses.replace(wanted.timers, idle=its.idle))
    if its.ports is not None and not request.says_ports:
        wanted = dataclasses.replace(wanted, ports=its.ports)
    return wanted
