"""From the freestyle dialect's requests to what the control plane is asked. Pure."""

import dataclasses
import re
from collections.abc import Sequence

from hutch.api.freestyle import recipe, requests, specs
from hutch.control import requests as control_requests
from hutch.control.builds import BuildRequest
from hutch.control.launching import LaunchRequest
from hutch.control.machines import MachineRequest
from hutch.model import errors
from hutch.model.machine import Defaults, EndsOn, Persistence, TimerAction, Timers
from hutch.model.network import PublishedPort
from hutch.model.recipes import Credentials

IMAGE = "debian"
"""Of VMs that name nothing else."""

DISPLAY_NAME = "freestyle.name"
"""The label that keeps a VM's name where no machine can be called so: here it is for people, and need not be unique."""

IDLE_SECONDS = 300
READY_SECONDS = 120
EXTERNAL_PORTS = (443, 8081)
DEFAULT_TARGET = 3000
"""Where 443 leads unless something is said."""

MOST_READY_SECONDS = 3600


def launch_request(body: specs.CreateVm, plan: recipe.Plan) -> LaunchRequest:
    """A VM to make of `plan`."""
    has = plan.made_with
    base = plan.recipe.base
    says_idle, idle = _idle(plan)
    ports = plan.find("ports")
    kept, priority, ends_on = _kept(body.persistence or (None if body.template is None else body.template.persistence))
    name, labels = _name(body.name)
    targets, domains = _targets(ports), tuple(_domain(it, _targets(ports)) for it in body.domains or ())
    machine = MachineRequest(
        image=IMAGE if base.snapshot is None else "",
        snapshot=base.snapshot,
        name=name,
        labels=labels,
        cpus=has.cpus,
        memory_mib=has.memory_mib,
        disk_gib=has.disk_gib,
        workdir=has.workdir,
        timers=Timers(idle=idle, idle_action=TimerAction.SUSPEND, idle_bytes=body.activity_threshold_bytes),
        ports=_published([*targets, *(port for _, port in domains)]),
        persistence=kept,
        priority=priority,
        ends_on=ends_on,
        is_recreated=body.recreate is True,
    )
    build = None
    if plan.needs_build:
        credentials = _credentials(body.docker_credentials)
        build = BuildRequest(
            plan.recipe, persistence=Persistence.STICKY, defaults=_defaults(plan), credentials=credentials
        )
        machine = dataclasses.replace(machine, image="", snapshot=None, cpus=None, memory_mib=None, disk_gib=None)
    waits = plan.find("wait_for_ready_signal") is not False
    return LaunchRequest(
        machine,
        build,
        says_idle=says_idle,
        says_ports=ports is not None or bool(domains),
        domains=domains,
        ready_within=_ready_seconds(plan.find("ready_signal_timeout_seconds")) if waits else None,
        name_label=DISPLAY_NAME,
    )


def build_request(body: specs.CreateSnapshot, plan: recipe.Plan) -> BuildRequest:
    """A snapshot to make of `plan`."""
    kept = body.persistence
    return BuildRequest(
        plan.recipe,
        name=snapshot_name(body.name),
        is_label=True,
        persistence=Persistence.STICKY if kept is not None and kept.type == "sticky" else Persistence.PERSISTENT,
        priority=5 if kept is None or kept.priority is None else kept.priority,
        defaults=_defaults(plan),
        credentials=_credentials(body.docker_credentials),
    )


def _credentials(it: requests.DockerCredentials | None) -> Credentials | None:
    return None if it is None else Credentials(it.registry, it.username, it.password)


def _defaults(plan: recipe.Plan) -> Defaults:
    """What all VMs made of this have, as far as it is said."""
    layers = [it for it in plan.chain if not isinstance(it, specs.CreateVm)]
    idle = next((it.idle_timeout_seconds for it in layers if it.idle_timeout_seconds is not None), None)
    ports = next((it.ports for it in layers if it.ports is not None), None)
    return Defaults(idle=idle, ports=None if ports is None else _published(_targets(ports)))


def _idle(plan: recipe.Plan) -> tuple[bool, int | None]:
    """Whether it is said after how many seconds, and after how many; a null that was sent means never."""
    for it in plan.chain:
        if "idle_timeout_seconds" in it.model_fields_set:
            return True, it.idle_timeout_seconds
    return False, IDLE_SECONDS


def _ready_seconds(asked: object) -> float:
    if asked is None:
        return READY_SECONDS
    if not isinstance(asked, int) or not 1 <= asked <= MOST_READY_SECONDS:
        raise errors.InvalidRequest(f"readySignalTimeoutSeconds is {asked}: 1 to {MOST_READY_SECONDS}")
    return asked


def _kept(it: requests.VmPersistence | None) -> tuple[Persistence, int, EndsOn]:
    """Sticky, if nothing is said."""
    kept = Persistence.STICKY if it is None else Persistence(it.type)
    priority = 5 if it is None or it.priority is None else it.priority
    return kept, priority, EndsOn.STOP if it is not None and it.delete_event == "OnStop" else EndsOn.REST


def _targets(ports: object) -> Sequence[int]:
    """The VM's ports that are reached from outside, that behind 443 first."""
    if ports is None:
        return (DEFAULT_TARGET,)
    assert isinstance(ports, list)
    given: list[requests.PortMapping] = ports
    for it in given:
        if it.port not in EXTERNAL_PORTS:
            raise errors.InvalidRequest(
                f"ports: {it.port}: only 443 and 8081 lead to a VM; any targetPort may be named"
            )
        if sum(other.port == it.port for other in given) > 1:
            raise errors.InvalidRequest(f"ports: {it.port} is given twice")
    return [it.target_port for it in sorted(given, key=lambda it: it.port)]


def _published(targets: Sequence[int]) -> tuple[PublishedPort, ...]:
    """Public, as the document's are: its proxy asks nobody who they are."""
    return tuple(PublishedPort(port, is_public=True) for port in dict.fromkeys(targets))


def _domain(it: requests.VmDomainConfig, targets: Sequence[int]) -> tuple[str, int]:
    """A name, and the VM's port it leads to."""
    if it.vm_port is not None:
        return it.domain, it.vm_port
    if not targets:
        raise errors.InvalidRequest(f"domains: {it.domain[:80]!a}: there are no ports, so name a vmPort")
    return it.domain, targets[0]


def _name(asked: str | None) -> tuple[str | None, dict[str, str]]:
    """What the machine is called, and what it is labelled if it cannot be called so."""
    if not asked:
        return None, {}
    try:
        control_requests.check_name(asked)
    except errors.InvalidRequest:
        pass
    else:
        return asked, {}
    labels = {DISPLAY_NAME: asked}
    try:
        control_requests.check_labels(labels)
    except errors.InvalidRequest:
        raise errors.InvalidRequest("name: it is too long, or holds a NUL") from None
    return None, labels


def snapshot_name(asked: str | None) -> str | None:
    """What a snapshot is called: with hyphens for what its name may not have."""
    if asked is None:
        return None
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", asked)[: control_requests.NAME_LENGTH].strip("-._")
    if not name:
        raise errors.InvalidRequest(f"name {asked[:80]!a}: use letters and digits")
    return name


def timers(it: Timers, body: requests.StartVm) -> Timers:
    """A VM's, with what a start says."""
    if body.idle_timeout_seconds is not None:
        it = dataclasses.replace(it, idle=body.idle_timeout_seconds)
    if body.activity_threshold_bytes is not None:
        it = dataclasses.replace(it, idle_bytes=body.activity_threshold_bytes)
    return it


def ready_within(body: requests.StartVm) -> float | None:
    """Seconds a start waits until the VM is ready; None: it does not."""
    return None if body.wait_for_ready_signal is False else _ready_seconds(body.ready_signal_timeout_seconds)
