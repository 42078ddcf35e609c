"""Keys, warm pools, templates and volumes as the nullspace dialect shows them: their forms, and how they come about.

Pure; `present` and `responses` have the rest.
"""

import shlex
from typing import Any, Literal

from pydantic import Field

from hutch.api.answers import moment
from hutch.api.nullspace import parse, refs
from hutch.api.nullspace.present import config, template_ref
from hutch.api.nullspace.responses import Answer, Config
from hutch.control import pools
from hutch.control.images import Image
from hutch.model import errors, keys
from hutch.model.machine import PoolState, Snapshot
from hutch.model.volumes import Volume as Disk


class Key(Answer):
    """A key without its secret."""

    id: str
    prefix: str
    is_active: bool
    name: str | None
    scope: str | None
    created_at: str | None
    last_used_at: str | None
    expires_at: str | None
    revoked_at: str | None


class NewKey(Answer):
    """A new key; `key` is never told again."""

    id: str
    key: str
    prefix: str
    name: str | None
    scope: str | None
    expires_at: str | None


class Revoked(Answer):
    """A key that is no more."""

    success: bool


class PoolCounts(Answer):
    """How many machines of a pool there are."""

    target: int
    ready: int
    warming: int
    claimed: int
    draining: int
    failed: int
    expired: int
    unavailable: int


class Pool(Answer):
    """A warm pool."""

    id: str
    name: str
    template_ref: str
    resolved_template: str
    resources: Config
    min_ready: int
    max_ready: int
    idle_timeout_seconds: int
    stale_after_seconds: int
    checkout_policy: str
    version_policy: str
    rollout_generation: int
    rollout_status: dict[str, Any]
    status: PoolCounts
    state: Literal["enabled", "disabled", "draining", "deleted"]
    labels: dict[str, str]
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    degraded_reason: str | None = None


class Pools(Answer):
    """Warm pools."""

    items: list[Pool]


class RuntimeDefaults(Answer):
    """What a machine made of a template has if nothing else is said. Values of variables are not told."""

    default_env_keys: list[str]
    start_cmd: str | None = None
    default_user: str | None = None
    default_workdir: str | None = None


class Template(Answer):
    """What machines are made of: an image that is here, or a snapshot."""

    id: str
    name: str
    description: str
    builtin: bool
    canonical_ref: str
    namespace_slug: str
    visibility: Literal["private", "public"]
    runtime_defaults: RuntimeDefaults | None = Field(None, description="Left out where nothing is known.")


class Volume(Answer):
    """A volume. What it holds is not counted: `used_bytes` and `inode_count` are 0."""

    id: str
    name: str
    created_at: str
    used_bytes: int
    inode_count: int
    mount_count: int
    max_size_bytes: int | None
    max_file_count: int | None
    max_mounts: int | None
    last_reconciled_at: str | None
    status: Literal["available", "attached"]


def volume(it: Disk, mounts: int) -> dict[str, Any]:
    """A volume. What it holds is not counted: that is known to its file system alone."""
    return {
        "id": refs.VOLUME + it.id,
        "name": it.name,
        "created_at": moment(it.created_at),
        "used_bytes": 0,
        "inode_count": 0,
        "mount_count": mounts,
        "max_size_bytes": it.size_gib * 2**30,
        "max_file_count": None,
        "max_mounts": None,
        "last_reconciled_at": None,
        "status": "attached" if mounts else "available",
    }


def key(it: keys.ApiKey) -> dict[str, Any]:
    """A key without its secret."""
    return {
        "id": refs.as_uuid(it.id),
        "prefix": it.prefix,
        "is_active": True,
        "name": it.description,
        "scope": " ".join(sorted(it.scopes)),
        "created_at": moment(it.created_at),
        "last_used_at": None if it.last_used_at is None else moment(it.last_used_at),
        "expires_at": None if it.expires_at is None else moment(it.expires_at),
        "revoked_at": None,
    }


def pool(it: pools.PoolStatus) -> dict[str, Any]:
    """A warm pool and how it stands."""
    its = it.pool
    named = template_ref(its.spec.image.reference)
    shown = {
        "id": refs.POOL + its.id,
        "name": its.name,
        "template_ref": named,
        "resolved_template": f"{its.spec.image.reference}@{its.spec.image.digest}",
        "resources": config(its.spec.resources),
        "min_ready": its.min,
        "max_ready": its.max,
        "idle_timeout_seconds": 0,
        "stale_after_seconds": 0,
        "checkout_policy": its.mode.value,
        "version_policy": "pinned_build",
        "rollout_generation": 1,
        "rollout_status": {},
        "status": pool_counts(it),
        "state": its.state.value,
        "labels": dict(its.labels),
        "metadata": dict(its.metadata),
        "created_at": moment(its.created_at),
        "updated_at": moment(its.updated_at or its.created_at),
    }
    degraded = _degraded(it)
    return shown if degraded is None else {**shown, "degraded_reason": degraded}


def _degraded(it: pools.PoolStatus) -> str | None:
    """Why it is not full, if it should be or is not to be."""
    match it.pool.state:
        case PoolState.DISABLED:
            return "controller_disabled"
        case PoolState.DRAINING:
            return "drain_active"
    match it.error:
        case None:
            return None
        case errors.QuotaExceeded():
            return "quota_exceeded"
        case errors.NoCapacity():
            return "no_eligible_hosts"
        case errors.ImageUnavailable():
            return "template_build_unavailable"
        case _:
            return "artifact_prewarm_failed"


def pool_counts(it: pools.PoolStatus) -> dict[str, int]:
    """How many of its machines there are."""
    counts = {"target": it.pool.min, "ready": it.ready, "warming": it.making, "claimed": it.claimed}
    return {**counts, "draining": 0, "failed": 0, "expired": 0, "unavailable": 0}


def standing(it: pools.PoolStatus) -> str:
    """How a pool is, in one word."""
    if _degraded(it) is not None:
        return "degraded"
    return "ready" if it.ready >= it.pool.min else "warming"


def template_info(name: str, description: str, builtin: bool = False) -> dict[str, Any]:
    """A template of this name."""
    return {
        "id": name,
        "name": name,
        "description": description,
        "builtin": builtin,
        "canonical_ref": name,
        "namespace_slug": "",
        "visibility": "public" if builtin else "private",
    }


def image_template(it: Image) -> dict[str, Any]:
    """An image that is here, as a template. Its command is told, and started by nobody."""
    named, its = template_ref(it.ref.reference), it.config
    is_base = named == parse.BASE
    about = f"The built-in image, {parse.BASE_IMAGE}." if is_base else "An image."
    defaults = {
        "default_env_keys": sorted(its.env or ()),
        "start_cmd": shlex.join((*its.entrypoint, *its.cmd)) or None,
        "default_user": its.user,
        "default_workdir": its.workdir,
    }
    known = {name: value for name, value in defaults.items() if value is not None}
    return {**template_info(named, about, is_base), "runtime_defaults": known}


def snapshot_template(it: Snapshot) -> dict[str, Any]:
    """A snapshot as a template."""
    ref = refs.SNAPSHOT + it.id
    shown = {**template_info(it.name, f"A snapshot of {refs.MACHINE}{it.machine}."), "id": ref, "canonical_ref": ref}
    defaults = {"default_env_keys": sorted(it.spec.env)} | (
        {"default_workdir": it.spec.workdir} if it.spec.workdir else {}
    )
    return {**shown, "runtime_defaults": defaults}
