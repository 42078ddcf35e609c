"""From a recipe to a chain of links, each with the hash of all that defines it. Pure.

A link's hash covers its layer, the sizes a machine of it has, and its parent's hash, down to the base: a snapshot's id,
an image's digest, or a Dockerfile's own hash. Whether a cached link may be used, and with whose password the base is
fetched, is no part of what it is.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum

from hutch.model.errors import InvalidRequest
from hutch.model.machine import Resources
from hutch.model.recipes import File, Layer

_VERSION = 1  # raised when the same layer is made otherwise than before


@dataclass(frozen=True, slots=True)
class Link:
    """A layer on its parent."""

    layer: Layer
    recipe: str  # its hash
    resources: Resources  # of machines made of it


def make_key(kind: str, value: str) -> str:
    """The hash of a base."""
    return _hash({"kind": kind, "value": value})


def make_links(base: str, resources: Resources, layers: Sequence[Layer], is_base_kept: bool) -> tuple[Link, ...]:
    """The links above a base with this hash and these sizes, the lowest first. Layers that add nothing are left out.

    `is_base_kept`: the base is a snapshot already; else there is one link at least. `InvalidRequest` for a disk that
    would shrink.
    """
    links: list[Link] = []
    parent, its, is_forced = base, resources, False
    for layer in layers:
        asked, below = layer.disk_gib or its.disk_gib, its.disk_gib
        if asked < below:
            raise InvalidRequest(f"disk is {asked} GiB: at least the {below} GiB of the layer below, disks only grow")
        sized = Resources(layer.cpus or its.cpus, layer.memory_mib or its.memory_mib, asked)
        is_forced = is_forced or layer.skip_cache
        if is_empty(layer) and sized == its:
            continue  # what was to be made anew in it is made so in the next one
        layer, its = replace(layer, skip_cache=is_forced), sized
        parent = _hash({"parent": parent, "sizes": _canonical(its), "layer": _defined(layer)})
        links.append(Link(layer, parent, its))
    if not links and not is_base_kept:
        layer = next(reversed(layers), Layer())
        links.append(Link(layer, _hash({"parent": base, "sizes": _canonical(its), "layer": _defined(layer)}), its))
    return tuple(links)


def is_empty(layer: Layer) -> bool:
    """Whether nothing is done in it, sizes apart."""
    return _content(layer) == Layer()


def _content(layer: Layer) -> Layer:
    sizeless = replace(layer, cpus=None, memory_mib=None, disk_gib=None)
    return replace(sizeless, waits_until_ready=True, ready_timeout=None, skip_cache=False)


def _defined(layer: Layer) -> object:
    """All that its hash covers, with what has no order put into one."""
    content = replace(
        _content(layer),
        waits_until_ready=layer.waits_until_ready,
        files=tuple(sorted(layer.files, key=lambda file: file.path)),
        packages=tuple(sorted(set(layer.packages))),
    )
    return _canonical(content)


def _canonical(value: object) -> object:
    match value:
        case File(path, content, mode):
            return {"path": path, "mode": mode, "sha256": hashlib.sha256(content).hexdigest()}
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return {"sha256": hashlib.sha256(value).hexdigest()}
        case Mapping():
            return {str(key): _canonical(its) for key, its in value.items()}
        case Sequence():
            return [_canonical(its) for its in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _canonical(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _hash(what: Mapping[str, object]) -> str:
    text = json.dumps({"version": _VERSION, **what}, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
