"""Recipes: what a machine is to be made of, layer upon layer. Each layer becomes a snapshot that is made once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class File:
    """A file of a layer."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Group:
    """A group of a guest's."""

    name: str
    gid: int | None = None
    system: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """A user of a guest's."""

    name: str
    uid: int | None = None
    comment: str | None = None
    groups: tuple[str, ...] = ()  # besides its own
    home: str | None = None
    shell: str | None = None
    system: bool = False


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository to clone."""

    url: str = field(repr=False)  # it may hold a password
    path: str
    rev: str | None = None  # branch, tag or commit; None: what the remote's HEAD is


@dataclass(frozen=True, slots=True)
class GitIdentity:
    """Who commits are by, for all users of a guest."""

    name: str | None = None
    email: str | None = None
    signing_key: str | None = None


class UnitMode(StrEnum):
    """What a service is."""

    ONESHOT = "oneshot"  # it runs to its end
    SERVICE = "service"  # it goes on running


class RestartWhen(StrEnum):
    """When systemd starts a service anew."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    ON_ABNORMAL = "on-abnormal"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How systemd starts a service anew; None: as systemd does."""

    when: RestartWhen
    delay: int | None = None  # seconds
    burst: int | None = None  # so many starts …
    interval: int | None = None  # … within so many seconds are too many


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd service. `name` is without `.service`; other units are named as systemd does, or without `.service`."""

    name: str
    mode: UnitMode
    exec: tuple[str, ...]  # command lines, run one after the other
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    group: str | None = None
    workdir: str | None = None
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    wanted_by: tuple[str, ...] = ("multi-user.target",)
    enable: bool = True
    timeout: int | None = None  # seconds to start and to stop; 0: no limit
    delete_after_success: bool = False  # of a oneshot: the unit goes when it has ended well
    remain_after_exit: bool = True  # of a oneshot: it counts as active after its end
    ready_signal: bool = False  # it counts as started when it says so (sd_notify)
    watchdog: int | None = None  # seconds within which it must say that it lives
    restart: RestartPolicy | None = None


@dataclass(frozen=True, slots=True)
class UnitPatch:
    """What is to be different about a service that is there already; `changes` has fields of `Unit` by their names."""

    name: str
    changes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Layer:
    """What is done in a machine on top of what is below. Sizes left out are those of the layer below."""

    cpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    groups: tuple[Group, ...] = ()
    users: tuple[User, ...] = ()
    files: tuple[File, ...] = ()
    packages: tuple[str, ...] = ()  # Debian's
    git: GitIdentity | None = None
    repositories: tuple[Repository, ...] = ()
    units: tuple[Unit, ...] = ()
    patches: tuple[UnitPatch, ...] = ()
    workdir: str | None = None
    discriminator: str | None = None  # tells apart what is otherwise the same
    waits_until_ready: bool = True  # the layer is whole when the guest's boot and its services have finished
    ready_timeout: float | None = None  # seconds; None: the service's default
    skip_cache: bool = False  # made anew even if it is there; no part of what it is


@dataclass(frozen=True, slots=True)
class Base:
    """What the lowest layer stands on: one of these, or the default image."""

    snapshot: str | None = None  # id or name
    image: str | None = None
    dockerfile: str | None = None  # its text


@dataclass(frozen=True, slots=True)
class Recipe:
    """A base and the layers on it, the lowest first."""

    base: Base = Base()
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of a registry; kept nowhere."""

    registry: str
    username: str
    password: str = field(repr=False)
