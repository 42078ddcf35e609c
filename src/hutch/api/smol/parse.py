"""From the smol dialect's requests to what the control plane is asked. Pure.

It says no only where a field that is known cannot act here: ignoring it would be a lie.
"""

import base64
import binascii
import signal
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from hutch.api.smol import present, requests
from hutch.control import machines, processes
from hutch.model import errors, guest, ids
from hutch.model.machine import NetworkMode, NetworkPolicy, Persistence, Timers

INTERPRETERS: Mapping[str, tuple[str, ...]] = {
    "python": ("python3", "-"),
    "javascript": ("node", "-"),
    "node": ("node", "-"),
}
"""What runs a language; each reads the program from stdin, whose length has no limit as an argument's has."""

MAX_DAYS = 36_500

_MODES = {"open": NetworkMode.OPEN, "blocked": NetworkMode.BLOCKED, "allowCidrs": NetworkMode.ALLOW}


def machine_ref(text: str) -> str:
    """An id as it is shown or bare, without the prefix; anything else is a name, and stays as it is."""
    bare = text.removeprefix(present.ID_PREFIX)
    return bare if ids.is_machine_id(bare) else text


def _cannot(field: str, why: str) -> errors.Unsupported:
    return errors.Unsupported(f"{field}: {why}")


def _refuse_what_cannot_act(body: requests.CreateMachine) -> None:
    later: Iterable[tuple[str, Any, str]] = (
        ("mounts", body.mounts, "this service has no volumes yet"),
        ("ports", body.ports, "this service cannot publish ports yet"),
        ("credentials", body.credentials, "this service cannot hold credentials yet"),
        ("cacheDisk", body.cache_disk, "this service has no cache disks"),
        ("branchable", body.branchable, "this service cannot branch machines yet"),
        ("forkable", body.forkable, "this service cannot branch machines yet"),
        ("source.type", body.source.type != "image", "this service makes machines of images only"),
    )
    for field, given, why in later:
        if given:
            raise _cannot(field, why)


def network(given: requests.Network | None) -> NetworkPolicy:
    """Open when left out. A list of networks and hosts cannot be enforced yet, and is refused rather than ignored."""
    if given is None:
        return NetworkPolicy()
    if given.mode == "allowCidrs":
        if not given.cidrs and not given.hosts:
            raise errors.InvalidRequest("allowCidrs network mode requires at least one CIDR or host")
        raise _cannot("network.mode", "this service cannot enforce allowCidrs yet; use open or blocked")
    return NetworkPolicy(_MODES[given.mode])


def machine_request(body: requests.CreateMachine) -> machines.MachineRequest:
    """A machine to make."""
    _refuse_what_cannot_act(body)
    resources = body.resources or requests.Resources()
    return machines.MachineRequest(
        image=body.source.reference,
        name=body.name,
        cpus=resources.cpus,
        memory_mib=resources.memory_mb,
        disk_gib=resources.disk_gb,
        network=network(body.network),
        env=body.env or {},
        workdir=body.workdir,
        command=None if body.command is None else tuple(body.command),
        labels=body.labels or {},
        persistence=Persistence.EPHEMERAL if body.ephemeral else Persistence.PERSISTENT,
        timers=Timers(idle=body.auto_stop_seconds, lifetime=body.ttl_seconds),
    )


def labels(given: Iterable[str]) -> dict[str, str]:
    """`k=v` filters as a mapping."""
    wanted = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise errors.InvalidRequest(f"label: {text!r} is not of the form name=value")
        wanted[name] = value
    return wanted


def terminal(given: requests.Terminal) -> guest.TerminalSize:
    """A terminal's size."""
    return guest.TerminalSize(given.cols, given.rows)


def _stdin(body: requests.Exec) -> bytes | None:
    if body.stdin_b64 is None:
        return None if body.stdin is None else body.stdin.encode("utf-8", "surrogatepass")
    if body.stdin is not None:
        raise errors.InvalidRequest("stdin and stdinB64 exclude each other")
    try:
        return base64.b64decode(body.stdin_b64, validate=True)
    except binascii.Error as flaw:
        raise errors.InvalidRequest(f"stdinB64: {flaw}") from None


def command(body: requests.Exec) -> processes.Command:
    """A string is a line for the shell, a list an argv."""
    shell = isinstance(body.command, str)
    return processes.Command(
        argv=None if shell else tuple(body.command),
        shell=body.command if isinstance(body.command, str) else None,
        env=body.env or {},
        cwd=body.cwd,
        user=body.user,
        timeout=body.timeout_seconds,
        stdin=_stdin(body),
        interactive=bool(body.interactive),
        background=bool(body.background),
        terminal=None if body.terminal is None else terminal(body.terminal),
    )


def program(body: requests.Code) -> processes.Command:
    """A program for its language's interpreter."""
    argv = INTERPRETERS.get(body.language)
    if argv is None:
        known = ", ".join(INTERPRETERS)
        raise errors.InvalidRequest(f"unsupported language: {body.language!r} (supported: {known})")
    return processes.Command(
        argv=argv,
        env=body.env or {},
        cwd=body.cwd,
        user=body.user,
        timeout=body.timeout_seconds,
        stdin=body.code.encode("utf-8", "surrogatepass"),
    )


def signal_number(given: int | str) -> int:
    """9, "KILL" and "SIGKILL" are the same."""
    if isinstance(given, int):
        return given
    name = given.upper().removeprefix("SIG")
    try:
        return signal.Signals[f"SIG{name}"].value
    except KeyError:
        raise errors.InvalidRequest(f"signal: there is no {given!r}") from None


def lifetime(days: int | None) -> timedelta | None:
    """How long a key lives: as long as a calendar can tell."""
    if days is not None and days > MAX_DAYS:
        raise errors.InvalidRequest(f"expiresInDays is {days}: at most {MAX_DAYS}, or leave it out")
    return None if days is None else timedelta(days=days)
