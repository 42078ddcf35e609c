"""Recipes and services as the smol dialect reads them, and what the control plane is asked. Pure. Native.

Unlike in the documented service's own bodies a field that is not known is refused: recipes are written by hand, and a
layer that silently lacks what was asked for would be kept and used again.
"""

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from hutch.api.smol import parse, requests
from hutch.api.smol.requests import U32
from hutch.control.builds import BuildRequest
from hutch.model import recipes
from hutch.model.errors import InvalidRequest
from hutch.model.machine import Defaults
from hutch.model.recipes import RestartWhen, UnitMode

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Strict(requests.Body):
    """A body whose fields are all known."""

    model_config = ConfigDict(extra="forbid")


class Base(Strict):
    """What the lowest layer stands on: one of these; without any the default image."""

    checkpoint: str | None = None
    image: str | None = None
    dockerfile: str | None = None


class Group(Strict):
    """A group to make."""

    name: str
    gid: U32 | None = None
    system: bool | None = None


class User(Strict):
    """A user to make."""

    name: str
    uid: U32 | None = None
    comment: str | None = None
    groups: list[str] | None = None
    home: str | None = None
    shell: str | None = None
    system: bool | None = None


class File(Strict):
    """A file to write; `mode` is octal, 644 if left out."""

    path: str
    content: str
    encoding: Literal["utf-8", "base64"] | None = None
    mode: Annotated[str | None, Field(pattern=r"^[0-7]{3,4}$")] = None


class Identity(Strict):
    """Who commits are by."""

    name: str | None = None
    email: str | None = None
    signing_key: str | None = None


class Repository(Strict):
    """A git repository to clone; `rev` is a branch, a tag or a commit."""

    url: str
    path: str
    rev: str | None = None


class Restart(Strict):
    """When systemd starts a service anew."""

    policy: RestartWhen
    delay_seconds: U32 | None = None
    burst: U32 | None = None
    interval_seconds: U32 | None = None


class ServiceChange(Strict):
    """What is to be different about a service; what is left out stays."""

    mode: UnitMode | None = None
    exec: list[str] | None = None
    env: dict[str, str] | None = None
    user: str | None = None
    group: str | None = None
    workdir: str | None = None
    after: list[str] | None = None
    requires: list[str] | None = None
    on_failure: list[str] | None = None
    wanted_by: list[str] | None = None
    enable: bool | None = None
    timeout_seconds: U32 | None = None
    delete_after_success: bool | None = None
    remain_after_exit: bool | None = None
    ready_signal: bool | None = None
    watchdog_seconds: U32 | None = None
    restart: Restart | None = None


class NamedChange(ServiceChange):
    """The same of a service of a layer below."""

    name: str


class NewService(NamedChange):
    """A systemd service to make: `exec` are command lines, run one after the other."""

    mode: UnitMode = UnitMode.SERVICE
    exec: list[str]


class Layer(Strict):
    """What is done on top of what is below. Sizes left out are those of the layer below."""

    cpus: U32 | None = None
    memory_mb: U32 | None = None
    disk_gb: U32 | None = None
    groups: list[Group] | None = None
    users: list[User] | None = None
    files: list[File] | None = None
    packages: list[str] | None = None
    git: Identity | None = None
    repositories: list[Repository] | None = None
    services: list[NewService] | None = None
    patches: list[NamedChange] | None = None
    workdir: str | None = None
    discriminator: str | None = None
    waits_until_ready: bool | None = None
    ready_timeout_seconds: Seconds | None = None
    skip_cache: bool | None = None


class Credentials(Strict):
    """Of the registry that the base comes from. They are kept nowhere."""

    registry: str
    username: str
    password: Annotated[str, Field(repr=False)]


class NewDefaults(Strict):
    """What machines made of the checkpoint have unless they are asked to be otherwise."""

    auto_stop_seconds: U32 | None = None
    ports: list[requests.Port] | None = None


class CreateBuild(Strict):
    """A checkpoint to build: a base, and layers on it, the lowest first."""

    base: Base | None = None
    layers: list[Layer] | None = None
    name: str | None = None
    persistence: requests.Persistence | None = None
    defaults: NewDefaults | None = None
    credentials: Credentials | None = None
    timeout_seconds: Seconds | None = None


class ServiceNames(Strict):
    """Services that something is to be done to."""

    services: Annotated[list[str], Field(min_length=1, max_length=100)]


BODIES = (CreateBuild, NewService, ServiceChange, ServiceNames)
"""For the OpenAPI document."""


def _layer(it: Layer) -> recipes.Layer:
    return recipes.Layer(
        cpus=it.cpus,
        memory_mib=it.memory_mb,
        disk_gib=it.disk_gb,
        groups=tuple(recipes.Group(group.name, group.gid, bool(group.system)) for group in it.groups or ()),
        users=tuple(_user(user) for user in it.users or ()),
        files=tuple(_file(file) for file in it.files or ()),
        packages=tuple(it.packages or ()),
        git=None if it.git is None else recipes.GitIdentity(it.git.name, it.git.email, it.git.signing_key),
        repositories=tuple(recipes.Repository(repo.url, repo.path, repo.rev) for repo in it.repositories or ()),
        units=tuple(service(unit) for unit in it.services or ()),
        patches=tuple(change(patch.name, patch) for patch in it.patches or ()),
        workdir=it.workdir,
        discriminator=it.discriminator,
        waits_until_ready=it.waits_until_ready is not False,
        ready_timeout=it.ready_timeout_seconds,
        skip_cache=bool(it.skip_cache),
    )


def _user(it: User) -> recipes.User:
    return recipes.User(it.name, it.uid, it.comment, tuple(it.groups or ()), it.home, it.shell, bool(it.system))


def _file(it: File) -> recipes.File:
    try:
        content = base64.b64decode(it.content, validate=True) if it.encoding == "base64" else it.content.encode()
    except binascii.Error:
        raise InvalidRequest(f"files: {it.path}: content is not base64") from None
    except UnicodeEncodeError:
        raise InvalidRequest(f"files: {it.path}: content is not text") from None
    return recipes.File(it.path, content) if it.mode is None else recipes.File(it.path, content, int(it.mode, 8))


def _given(it: ServiceChange) -> dict[str, Any]:
    """The fields of a `Unit` that are not left out."""
    fields: dict[str, Any] = {
        "mode": it.mode,
        "env": it.env,
        "user": it.user,
        "group": it.group,
        "workdir": it.workdir,
        "enable": it.enable,
        "timeout": it.timeout_seconds,
        "delete_after_success": it.delete_after_success,
        "remain_after_exit": it.remain_after_exit,
        "ready_signal": it.ready_signal,
        "watchdog": it.watchdog_seconds,
        "restart": None if it.restart is None else _restart(it.restart),
    }
    for name in ("exec", "after", "requires", "on_failure", "wanted_by"):
        listed = getattr(it, name)
        fields[name] = None if listed is None else tuple(listed)
    return {name: value for name, value in fields.items() if value is not None}


def _restart(it: Restart) -> recipes.RestartPolicy:
    return recipes.RestartPolicy(it.policy, it.delay_seconds, it.burst, it.interval_seconds)


def service(it: NewService) -> recipes.Unit:
    """A service to make."""
    return recipes.Unit(name=it.name, **_given(it))


def change(name: str, it: ServiceChange) -> recipes.UnitPatch:
    """What is to be different about one."""
    return recipes.UnitPatch(name, _given(it))


def build(it: CreateBuild) -> BuildRequest:
    """What to build."""
    base = it.base or Base()
    snapshot = None if base.checkpoint is None else parse.checkpoint_ref(base.checkpoint)
    kept = {} if it.persistence is None else parse.persistence(it.persistence)
    its = it.credentials
    return BuildRequest(
        recipe=recipes.Recipe(
            recipes.Base(snapshot, base.image, base.dockerfile), tuple(_layer(layer) for layer in it.layers or ())
        ),
        name=it.name,
        defaults=_defaults(it.defaults),
        credentials=None if its is None else recipes.Credentials(its.registry, its.username, its.password),
        budget=it.timeout_seconds,
        **kept,
    )


def _defaults(it: NewDefaults | None) -> Defaults:
    if it is None:
        return Defaults()
    return Defaults(it.auto_stop_seconds, None if it.ports is None else parse.ports(it.ports))
