"""A caller's credentials: shown to one registry, kept nowhere, and what was pulled with them is not everybody's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from hutch.model import errors
from hutch.model.machine import ImageRef
from hutch.model.recipes import Credentials
from registry import PASSWORD, USER, Registry

from .conftest import MakeRig, Rig


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("private"), private=True) as registry:
        registry.push_busybox("secret:1")
        yield registry


@pytest.fixture
async def its(make_rig: MakeRig, private: Registry) -> Rig:
    rig = make_rig(insecure_registries=private.host)
    await rig.images.open()
    return rig


@pytest.fixture
def ours(private: Registry) -> Credentials:
    return Credentials(private.host, USER, PASSWORD)


async def pull(rig: Rig, reference: str, credentials: Credentials) -> ImageRef:
    ref = await rig.images.resolve(reference, credentials)
    return (await rig.images.ensure(ref, credentials=credentials)).ref


async def test_an_image_is_pulled_with_them(its: Rig, private: Registry, ours: Credentials) -> None:
    ref = await pull(its, private.name("secret:1"), replace(ours, registry=f"https://{private.host}/v2/"))
    image = its.images.get(ref.digest)
    assert image is not None
    assert its.cat(image, "/etc/message") == "from the top layer\n"


async def test_wrong_ones_are_refused_in_the_registrys_words(its: Rig, private: Registry, ours: Credentials) -> None:
    with pytest.raises(errors.ImageUnavailable, match="unauthorized: authentication required") as caught:
        await its.images.resolve(private.name("secret:1"), replace(ours, password="guessed wrongly"))
    assert "guessed" not in f"{caught.value} {caught.value.context}"


async def test_those_of_another_registry_are_not_shown(its: Rig, private: Registry, ours: Credentials) -> None:
    with pytest.raises(errors.ImageUnavailable, match="unauthorized"):
        await its.images.resolve(private.name("secret:1"), replace(ours, registry="docker.io"))


async def test_they_are_in_no_argument_and_on_no_disk(
    its: Rig, private: Registry, ours: Credentials, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as logs:
        await pull(its, private.name("secret:1"), ours)
    commands = [str(entry["command"]) for entry in logs if entry.get("event") == "command"]
    assert any("skopeo" in command and "--authfile=/proc/self/fd/" in command for command in commands)
    assert PASSWORD not in repr(logs)
    assert "password" not in repr(ours)
    kept = [path for path in its.home.rglob("*.json") if PASSWORD in path.read_text()]
    assert kept == []


async def test_what_was_pulled_with_them_is_for_who_may_pull_it(its: Rig, private: Registry, ours: Credentials) -> None:
    name = private.name("secret:1")
    ref = await pull(its, name, ours)
    assert await its.images.list() == []
    for reference in (name, private.name(f"secret@{ref.digest}")):
        with pytest.raises(errors.ImageUnavailable, match="unauthorized"):
            await its.images.resolve(reference)
        assert (await its.images.resolve(reference, ours)).digest == ref.digest
    with pytest.raises(errors.ImageUnavailable, match="there is no image sha256:"):
        await its.images.resolve(ref.digest)
    with pytest.raises(errors.ImageUnavailable, match="connection refused"):
        await its.images.ensure(ImageRef("127.0.0.1:1/secret:1", ref.digest))
    assert (await its.images.ensure(ref)).ref == ref  # a machine that is made of it already starts
    await its.images.close()
    await its.images.open()
    with pytest.raises(errors.ImageUnavailable, match="unauthorized"):
        await its.images.resolve(private.name(f"secret@{ref.digest}"))


async def test_another_repository_with_the_same_image_is_proof_as_well(
    make_rig: MakeRig, private: Registry, ours: Credentials, registry: Registry
) -> None:
    rig = make_rig(insecure_registries=f"{private.host},{registry.host}")
    await rig.images.open()
    digest = (await pull(rig, private.name("secret:1"), ours)).digest
    private.push_busybox("mirror:1")
    mirrored = await rig.images.resolve(private.name("mirror:1"), ours)
    with pytest.raises(errors.ImageUnavailable, match="unauthorized"):
        await rig.images.ensure(mirrored)
    assert (await rig.images.ensure(mirrored, credentials=ours)).ref.digest == digest
    await rig.images.close()
    await rig.images.open()
    await rig.images.ensure(mirrored)
    assert await rig.images.list() == []
    assert (await rig.pull(registry.name("busybox:1"))).ref.digest == digest  # which anybody may pull
    assert [it.ref.reference for it in await rig.images.list()] == [registry.name("busybox:1")]
    assert (await rig.images.resolve(digest)).digest == digest


@pytest.mark.parametrize("given", [("a:b", "c"), ("a\0", "c"), ("a", "c\0")])
async def test_what_no_registry_could_be_shown_is_refused(its: Rig, private: Registry, given: tuple[str, str]) -> None:
    with pytest.raises(errors.InvalidRequest, match="no ':'"):
        await its.images.resolve(private.name("secret:1"), Credentials(private.host, *given))
