"""All the forms in which a client says what a VM is made of, normalised into one recipe. Pure.

spec:      { …, snapshot: { …, snapshot: { … } } }      the outermost layer first; only the innermost has a base
template:  { … }                                        the older form: one layer
the body's own fields                                   the oldest form: a layer on top of either
"""

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hutch.api.freestyle import refs, requests, sizes, specs, units
from hutch.api.freestyle.sizes import MIB_PER_GIB, Ranges
from hutch.model.errors import Flawed, InvalidRequest
from hutch.model.recipes import Base, File, GitIdentity, Group, Layer, Recipe, Repository, User

MOST_LAYERS = 64
"""Of one spec."""

SIZES = ("rootfs_size_gb", "mem_size_gb", "vcpu_count")
_SOURCES = ("snapshot", "snapshot_id", "base_image")
_SHOWN = {
    "snapshot_id": "snapshotId",
    "base_image": "baseImage",
    "rootfs_size_gb": "rootfsSizeGb",
    "mem_size_gb": "memSizeGb",
    "vcpu_count": "vcpuCount",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a VM or a snapshot is made of, and what is said about it in any layer."""

    recipe: Recipe
    needs_build: bool  # else it is made of the base at once, with the workdir and sizes of `made_with`
    made_with: Layer
    chain: tuple[specs.Contents, ...]  # the outermost first

    def find(self, field: str) -> object:
        """The value of a field in the outermost layer that has one."""
        return next((value for it in self.chain if (value := getattr(it, field)) is not None), None)


def plan(body: specs.CreateVm | specs.CreateSnapshot, may: Ranges, default_disk: int) -> Plan:
    """Raises `Flawed` with the document's codes, and `InvalidRequest`. `default_disk`: GiB of what has no base."""
    if body.spec is not None and body.template is not None:
        raise _conflict(0, "spec", "template")
    layers = _unfold(body.spec if body.template is None else body.template)
    for depth, it in enumerate(layers):
        _check_place(it, depth, is_innermost=depth == len(layers) - 1)
        sizes.check("create_vm", it.vcpu_count, it.mem_size_gb, it.rootfs_size_gb, may)
    base = _base(layers[-1] if layers else None)
    chain: list[specs.Contents] = [*layers]
    if isinstance(body, specs.CreateVm):
        chain.insert(0, body)
        base = _with_own(base, body, len(layers) - 1)
    made = [_layer(it) for it in reversed(chain)]
    if base.snapshot is None and made and made[0].disk_gib is None:
        made[0] = dataclasses.replace(made[0], disk_gib=default_disk)
    made = [it for it in made if _does_something(it)]
    made_with = _merge(made)
    is_new_shape = base.snapshot is not None and (made_with.cpus, made_with.memory_mib) != (None, None)
    needs_build = base.dockerfile is not None or is_new_shape or any(not _is_bare(it) for it in made)
    return Plan(Recipe(base, tuple(made)), needs_build, made_with, tuple(chain))


def _unfold(outermost: specs.Layer | None) -> Sequence[specs.Layer]:
    """Layers, the outermost first."""
    found = []
    while outermost is not None:
        found.append(outermost)
        if len(found) > MOST_LAYERS:
            raise InvalidRequest(f"spec: more than {MOST_LAYERS} layers")
        outermost = getattr(outermost, "snapshot", None)
    return found


def _check_place(it: specs.Layer, depth: int, is_innermost: bool) -> None:
    """One base for each layer, and sizes only in the innermost one."""
    sources = [name for name in _SOURCES if getattr(it, name, None) is not None]
    if len(sources) > 1:
        raise _conflict(depth, *sources[:2])
    for field in SIZES:
        if not is_innermost and getattr(it, field) is not None:
            raise Flawed(
                f"Field `{_SHOWN[field]}` may only be set on the innermost spec layer; found on a non-leaf layer "
                f"at depth {depth} (0 = outermost)",
                "non_leaf_layer_field_error",
            )


def _conflict(depth: int, one: str, other: str) -> Flawed:
    told = f"`{_SHOWN.get(one, one)}` and `{_SHOWN.get(other, other)}`"
    rule = "each layer may set at most one of `snapshot`, `snapshotId`, `baseImage`"
    return Flawed(
        f"Spec layer at depth {depth} has conflicting base sources {told}; {rule}", "conflicting_spec_sources_error"
    )


def _base(innermost: specs.Layer | None) -> Base:
    if innermost is None:
        return Base()
    dockerfile = None if innermost.base_image is None else innermost.base_image.dockerfile_content
    snapshot = None if innermost.snapshot_id is None else refs.snapshot(innermost.snapshot_id)
    return Base(snapshot=snapshot, dockerfile=dockerfile)


def _with_own(base: Base, body: specs.CreateVm, depth: int) -> Base:
    """With the snapshot that the body itself names."""
    if body.snapshot_id is None:
        return base
    own = Base(snapshot=refs.snapshot(body.snapshot_id))
    if base in (Base(), own):
        return own
    raise _conflict(max(depth, 0), "snapshot_id", "snapshot_id" if base.dockerfile is None else "base_image")


def _layer(it: specs.Contents) -> Layer:
    """What is done in it."""
    its = it if isinstance(it, specs.Layer) else specs.Layer()
    systemd = it.systemd or specs.SystemdConfig()
    user = None if it.git is None or it.git.config is None else it.git.config.user
    return Layer(
        cpus=its.vcpu_count,
        memory_mib=None if its.mem_size_gb is None else its.mem_size_gb * MIB_PER_GIB,
        disk_gib=its.rootfs_size_gb,
        groups=tuple(Group(group.name, group.gid, group.system is True) for group in it.groups or ()),
        users=tuple(_user(user) for user in it.users or ()),
        files=tuple(_file(path, file) for path, file in (it.additional_files or {}).items()),
        packages=tuple(it.apt_deps or ()),
        git=None if user is None else GitIdentity(user.name, user.email, user.signingkey),
        repositories=_repositories(it),
        units=tuple(units.unit(unit) for unit in systemd.services or ()),
        patches=tuple(units.patch(patch) for patch in systemd.patched_services or ()),
        workdir=it.workdir,
        discriminator=its.discriminator,
        waits_until_ready=it.wait_for_ready_signal is not False,
        ready_timeout=it.ready_signal_timeout_seconds,
        skip_cache=its.skip_cache is True,
    )


def _user(it: requests.LinuxUserSpec) -> User:
    return User(it.name, it.uid, it.gecos, tuple(it.groups or ()), it.home, it.shell, it.system is True)


def _file(path: str, it: requests.FreestyleFile) -> File:
    match (it.encoding or "utf-8").lower():
        case "utf-8" | "utf8":
            content = it.content.encode()
        case "base64":
            try:
                content = base64.b64decode(it.content, validate=True)
            except ValueError:
                raise InvalidRequest(f"additionalFiles: {path[:80]!a}: the content is not base64") from None
        case other:
            raise InvalidRequest(f"additionalFiles: {path[:80]!a}: encoding {other[:80]!a}: use utf-8 or base64")
    return File(path, content, 0o755 if it.executable else 0o644)


def _repositories(it: specs.Contents) -> tuple[Repository, ...]:
    own = it.git_repos or []
    within = (it.git.repos if it.git is not None else None) or []
    if own and within:
        told = "Cannot specify both root-level `gitRepos` and `git.repos`. Prefer `git.repos`."
        raise Flawed(told, "invalid_git_repo_spec_error")
    return tuple(Repository(repo.repo, repo.path, repo.rev) for repo in (*own, *within))


def _does_something(it: Layer) -> bool:
    return dataclasses.replace(it, waits_until_ready=True, ready_timeout=None) != Layer()


def _is_bare(it: Layer) -> bool:
    """Whether it only says what a machine is to have, so that nothing is to be done in one."""
    left = dataclasses.replace(it, cpus=None, memory_mib=None, disk_gib=None, workdir=None)
    return not _does_something(left)


def _merge(made: Sequence[Layer]) -> Layer:
    """What machines made of them have; of two layers the upper one counts."""
    said: dict[str, object] = {}
    for it in made:
        for name in ("cpus", "memory_mib", "disk_gib", "workdir"):
            if getattr(it, name) is not None:
                said[name] = getattr(it, name)
    return Layer(**said)  # type: ignore[arg-type]
