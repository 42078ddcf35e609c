"""Reads what a registry says of an image: index, manifest and config. Pure; what it reads comes from a stranger.

Facts: github.com/opencontainers/image-spec (image-index.md, manifest.md, config.md), and Docker's schema 2 of the
same shape.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from hutch.host.images import reference
from hutch.host.interface import ImageConfig
from hutch.model import errors

LARGEST = 4 * 1024 * 1024  # bytes of an index, a manifest or a config; registries themselves allow no more
MOST_LAYERS = 512  # Docker and overlayfs stop at about 128
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a pull will bring, in bytes as transferred."""

    total: int
    largest: int  # blob
    has_zstd: bool  # among its layers: umoci does not know it


def digest_of(data: bytes) -> str:
    """The digest these bytes are addressed by."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def resolve(data: bytes) -> str:
    """The digest of the linux/amd64 manifest: the bytes' own, or the one that an index names."""
    told = _object(data)
    listed = told.get("manifests")
    if listed is None:
        return digest_of(data)
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise _bad("its index is malformed")
    platforms = [(_platform(entry), entry.get("digest")) for entry in listed]
    fitting = [
        (variant not in ("", "v1"), digest)
        for ((os, arch, variant), digest) in platforms
        if (os, arch) == ("linux", "amd64")
    ]
    if not fitting:
        there = sorted({f"{os}/{arch}" for (os, arch, _), _ in platforms if os and os != "unknown"})
        raise errors.ImageUnavailable(f"there is none for linux/amd64, only for {', '.join(there)[:200] or 'nothing'}")
    digest = min(fitting, key=lambda found: found[0])[1]
    if not isinstance(digest, str) or not reference.is_digest(digest):
        raise _bad("its index names no sha256 digest")
    return digest


def read(data: bytes) -> Manifest:
    """A manifest's sizes, once it is sure that it is an image's and within bounds."""
    told = _object(data)
    config, layers = told.get("config"), told.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise _bad("its manifest is of a kind that is not supported (schema 1?)")
    if config.get("mediaType") not in _CONFIGS:
        raise errors.ImageUnavailable(f"not a container image but {str(config.get('mediaType'))[:100]}")
    sizes = [blob.get("size") if isinstance(blob, dict) else None for blob in (config, *layers)]
    known = [size for size in sizes if isinstance(size, int) and size >= 0]
    if len(known) != len(sizes):
        raise _bad("its manifest does not say how large its layers are")
    if len(layers) > MOST_LAYERS:
        raise _bad(f"it has {len(layers)} layers, more than {MOST_LAYERS}")
    zstd = any("zstd" in str(blob.get("mediaType")) for blob in layers)
    return Manifest(sum(known), max(known), zstd)


def read_config(data: bytes) -> ImageConfig:
    """How the image wants to be run. Raises `ImageUnavailable` if it is for another kind of machine."""
    told = _object(data)
    platform = (told.get("os", "linux"), told.get("architecture", "amd64"))
    if platform != ("linux", "amd64"):
        raise errors.ImageUnavailable(f"it is for {platform[0]}/{platform[1]}, this host runs linux/amd64"[:300])
    config = told.get("config")
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise _bad("its config is malformed")
    env = dict(word.split("=", 1) for word in _words(config, "Env") if "=" in word)
    return ImageConfig(
        entrypoint=_words(config, "Entrypoint"),
        cmd=_words(config, "Cmd"),
        env=env or None,
        workdir=_word(config, "WorkingDir"),
        user=_word(config, "User"),
        shell=_words(config, "Shell"),
        triggers=_words(config, "OnBuild"),
    )


def _platform(entry: dict[str, Any]) -> tuple[str, str, str]:
    platform = entry.get("platform")
    if not isinstance(platform, dict):
        return "", "", ""
    return str(platform.get("os", "")), str(platform.get("architecture", "")), str(platform.get("variant") or "")


def _words(config: dict[str, Any], key: str) -> tuple[str, ...]:
    value = config.get(key) or []
    if not isinstance(value, list) or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise _bad(f"{key} in its config is not a list of strings")
    return tuple(value)


def _word(config: dict[str, Any], key: str) -> str | None:
    value = config.get(key) or None
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise _bad(f"{key} in its config is not a string")
    return value


def _object(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise _bad("what the registry sent is not JSON") from None
    if not isinstance(told, dict):
        raise _bad("what the registry sent is not an object")
    return told


def _bad(why: str) -> errors.ImageUnavailable:
    return errors.ImageUnavailable(f"not a usable image: {why}")
