"""What to build, and services to make: frozen dataclasses, and how they are written as the API's JSON. Pure.

What is None, empty or as usual is left out. Instead of a `Recipe` the API's own JSON may be given.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from hutch.client.models import Port


@dataclass(frozen=True)
class Base:
    """What the lowest layer stands on: one of these; without any the default image."""

    checkpoint: str | None = None  # a snapshot's id or name
    image: str | None = None
    dockerfile: str | None = None  # its text


@dataclass(frozen=True)
class Group:
    """A group to make."""

    name: str
    gid: int | None = None
    system: bool = False


@dataclass(frozen=True)
class User:
    """A user to make."""

    name: str
    uid: int | None = None
    comment: str | None = None
    groups: Sequence[str] = ()  # besides its own
    home: str | None = None
    shell: str | None = None
    system: bool = False


@dataclass(frozen=True)
class File:
    """A file to write."""

    path: str
    content: str | bytes = field(repr=False)
    mode: int | None = None  # 0o644


@dataclass(frozen=True)
class GitIdentity:
    """Who commits are by."""

    name: str | None = None
    email: str | None = None
    signing_key: str | None = None


@dataclass(frozen=True)
class Repository:
    """A git repository to clone; `rev` is a branch, a tag or a commit."""

    url: str
    path: str
    rev: str | None = None


@dataclass(frozen=True)
class RestartPolicy:
    """When systemd starts a service anew: no, on-failure, always or on-abnormal."""

    policy: str
    delay_seconds: int | None = None
    burst: int | None = None  # so many starts …
    interval_seconds: int | None = None  # … within so long are too many


@dataclass(frozen=True)
class ServiceChange:
    """What is to be different about a service; None: as it is."""

    mode: str | None = None  # service, or oneshot: it runs to its end
    exec: Sequence[str] | None = None  # command lines, run one after the other
    env: Mapping[str, str] | None = None
    user: str | None = None
    group: str | None = None
    workdir: str | None = None
    after: Sequence[str] | None = None
    requires: Sequence[str] | None = None
    on_failure: Sequence[str] | None = None
    wanted_by: Sequence[str] | None = None
    enable: bool | None = None
    timeout_seconds: int | None = None
    delete_after_success: bool | None = None  # of a oneshot: it goes when it has ended well
    remain_after_exit: bool | None = None  # of a oneshot: it counts as active after its end
    ready_signal: bool | None = None  # it counts as started when it says so (sd_notify)
    watchdog_seconds: int | None = None
    restart: RestartPolicy | None = None


@dataclass(frozen=True, kw_only=True)
class NamedChange(ServiceChange):
    """The same of a service of a layer below."""

    name: str


@dataclass(frozen=True, kw_only=True)
class NewService(NamedChange):
    """A systemd service to make; None: as usual."""

    exec: Sequence[str]


@dataclass(frozen=True)
class Layer:
    """What is done on top of what is below. Sizes left out are those of the layer below."""

    cpus: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None
    groups: Sequence[Group] = ()
    users: Sequence[User] = ()
    files: Sequence[File] = ()
    packages: Sequence[str] = ()  # Debian's
    git: GitIdentity | None = None
    repositories: Sequence[Repository] = ()
    services: Sequence[NewService] = ()
    patches: Sequence[NamedChange] = ()
    workdir: str | None = None
    discriminator: str | None = None  # tells apart what is otherwise the same
    waits_until_ready: bool | None = None
    ready_timeout_seconds: float | None = None
    skip_cache: bool = False  # made anew even if it is there


@dataclass(frozen=True)
class Persistence:
    """Whether the snapshot may go when room is needed."""

    type: str = "persistent"  # or sticky
    priority: int | None = None  # 0 to 10, of a sticky one


@dataclass(frozen=True)
class Defaults:
    """What machines made of the snapshot have unless they are asked to be otherwise."""

    auto_stop_seconds: int | None = None
    ports: Sequence[Port] | None = None


@dataclass(frozen=True)
class Credentials:
    """Of the registry that the base comes from; kept nowhere."""

    registry: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Recipe:
    """A base and layers on it, the lowest first; `name` is what the snapshot is to be called."""

    base: Base | None = None
    layers: Sequence[Layer] = ()
    name: str | None = None
    persistence: Persistence | None = None
    defaults: Defaults | None = None
    credentials: Credentials | None = None
    timeout_seconds: float | None = None


def body(it: Any) -> dict[str, Any]:
    """One of these as the API's JSON."""
    if isinstance(it, File):
        return _file(it)
    given = {}
    for each in fields(it):
        value = getattr(it, each.name)
        usual = None if each.default is MISSING else each.default
        if value is None or (value == usual and not isinstance(it, Port)):
            continue
        head, *rest = each.name.split("_")
        given[head + "".join(map(str.title, rest))] = _value(value)
    return given


def _value(value: Any) -> Any:
    if is_dataclass(value):
        return body(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(it) for it in value]
    return dict(value) if isinstance(value, Mapping) else value


def _file(it: File) -> dict[str, Any]:
    mode = {} if it.mode is None else {"mode": f"{it.mode:03o}"}
    if isinstance(it.content, str):
        return {"path": it.path, "content": it.content} | mode
    return {"path": it.path, "content": base64.b64encode(it.content).decode("ascii"), "encoding": "base64"} | mode
