"""What a registry may say of an image, and what is made of it."""

import json
from typing import Any

import pytest

from hutch.host.images.oci import manifest, registry, unpack
from hutch.host.interface import ImageConfig
from hutch.model import errors

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def _index(*platforms: tuple[str, str, str, object]) -> bytes:
    return json.dumps(
        {
            "manifests": [
                {"digest": digest, "platform": {"os": os, "architecture": architecture, "variant": variant}}
                for os, architecture, variant, digest in platforms
            ]
        }
    ).encode()


def test_a_manifest_means_itself_and_an_index_the_one_for_this_platform() -> None:
    data = b'{"config":{},"layers":[]}'
    assert manifest.resolve(data) == manifest.digest_of(data)
    assert manifest.resolve(_index(("linux", "arm64", "v8", B), ("linux", "amd64", "", A))) == A
    assert manifest.resolve(_index(("linux", "amd64", "v3", B), ("linux", "amd64", "", A))) == A
    assert manifest.resolve(_index(("linux", "amd64", "v3", B))) == B


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_index(("linux", "arm64", "", A), ("unknown", "unknown", "", B)), "only for linux/arm64$"),
        (_index(), "only for nothing"),
        (_index(("linux", "amd64", "", "../../etc")), "no sha256 digest"),
        (b'{"manifests": 3}', "malformed"),
        (b'{"manifests": [3]}', "malformed"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"3", "not an object"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(errors.ImageUnavailable, match=why):
        manifest.resolve(data)


def _manifest(layers: list[Any], kind: str = "application/vnd.oci.image.config.v1+json", size: object = 10) -> bytes:
    return json.dumps({"config": {"mediaType": kind, "size": size}, "layers": layers}).encode()


def test_a_manifest_tells_what_a_pull_will_bring() -> None:
    told = manifest.read(_manifest([{"size": 5}, {"size": 50, "mediaType": "application/x.tar+zstd"}]))
    assert told == manifest.Manifest(total=65, largest=50, has_zstd=True)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (_manifest([], kind="application/vnd.cncf.helm.config.v1+json"), "not a container image but application/vnd"),
        (_manifest([{"size": -1}]), "how large"),
        (_manifest([{"size": "9"}]), "how large"),
        (_manifest([3]), "how large"),
        (_manifest([{"size": 1}] * 513), "513 layers"),
    ],
)
def test_a_manifest_that_is_no_images_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(errors.ImageUnavailable, match=why):
        manifest.read(data)


def _config(**config: object) -> bytes:
    return json.dumps({"os": "linux", "architecture": "amd64", "config": config}).encode()


def test_a_config_is_read_as_it_stands() -> None:
    read = manifest.read_config(
        _config(Entrypoint=["/init"], Cmd=None, Env=["A=b=c", "odd"], User="1000:100", WorkingDir="")
    )
    assert read == ImageConfig(entrypoint=("/init",), env={"A": "b=c"}, user="1000:100")
    assert manifest.read_config(b'{"config": null}') == ImageConfig()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"os": "windows", "architecture": "amd64"}', "it is for windows/amd64, this host runs linux/amd64"),
        (b'{"architecture": "arm64"}', "it is for linux/arm64"),
        (_config(Cmd="a string"), "Cmd in its config is not a list"),
        (_config(Env=["A=\0"]), "Env in its config is not a list"),
        (_config(User=["root"]), "User in its config is not a string"),
        (b'{"config": []}', None),
        (b'{"config": [1]}', "config is malformed"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(data: bytes, why: str | None) -> None:
    if why is None:
        with pytest.raises(errors.ImageUnavailable):
            manifest.read_config(data)
        return
    with pytest.raises(errors.ImageUnavailable, match=why):
        manifest.read_config(data)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (
            'time="2026" level=warning msg="careful"\n'
            'time="2026" level=fatal msg="Error parsing image name \\"docker://r/x:1\\": reading manifest 1 in r/x: '
            'manifest unknown: manifest unknown"\n',
            "manifest unknown: manifest unknown",
        ),
        (
            'time="2026" level=fatal msg="initializing source docker://r/x@sha256:1: reading manifest sha256:1 in r/x: '
            'unauthorized: authentication required"',
            "unauthorized: authentication required",
        ),
        ('time="2026" level=fatal msg=short', "short"),
        ("first\nlast line", "last line"),
        ("", "skopeo failed without a word"),
        ('level=fatal msg="evil \\u001b[31m red"', "evil  [31m red"),
    ],
)
def test_the_registrys_words_are_taken_out_of_skopeos_log(stderr: str, words: str) -> None:
    assert registry.words(stderr) == words


def test_umocis_words_are_taken_and_long_names_in_them_shortened() -> None:
    assert unpack.words("   • unpacking rootfs ...\n   ⨯ create rootfs: no\n") == "create rootfs: no"
    said = unpack.words("⨯ unpack entry: " + "d/" * 5000 + ": file name too long")
    assert len(said) < 310
    assert said.endswith(": file name too long")
