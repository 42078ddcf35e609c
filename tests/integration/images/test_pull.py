"""Pulling from a real registry: what arrives, what is asked of the network, and what is said when it fails."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hutch.host.interface import ImageConfig
from hutch.model import errors
from registry import BUSYBOX_CONFIG, Member, OciImage, Registry, busybox_image, layer

from .conftest import MakeRig, Rig


async def test_the_image_says_how_it_wants_to_be_run(rig: Rig, registry: Registry) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    assert image.config == ImageConfig(
        entrypoint=tuple(BUSYBOX_CONFIG["Entrypoint"]),
        cmd=tuple(BUSYBOX_CONFIG["Cmd"]),
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "COLOR": "green=blue"},
        workdir="/srv",
        user="worker",
    )
    assert not image.systemd
    assert 1 << 20 < image.size < 8 << 20
    assert rig.images.get(image.ref.digest) == replace(
        image, ref=replace(image.ref, reference=registry.name("busybox:1"))
    )


async def test_later_layers_win_and_whiteouts_remove(rig: Rig, registry: Registry) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    assert rig.cat(image, "/etc/message") == "from the top layer\n"
    assert rig.cat(image, "/opaque/upper") == "seen\n"
    assert not any(rig.has(image, path) for path in ("/etc/removed-later", "/gone", "/opaque/lower"))
    assert not any(rig.has(image, path) for path in ("/.wh.gone", "/etc/.wh.removed-later", "/opaque/.wh..wh..opq"))


async def test_owners_modes_and_links_are_those_of_the_image(rig: Rig, registry: Registry) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    setuid = rig.ask(image, "stat /usr/bin/setuid")
    assert re.search(r"Mode: +04755", setuid)
    assert re.search(r"User: +1000 +Group: +1000", setuid)
    assert re.search(r"Mode: +01777", rig.ask(image, "stat /tmp"))
    assert 'Fast link dest: "../../etc/message"' in rig.ask(image, "stat /usr/bin/link")
    inodes = {re.findall(r"Inode: (\d+)", rig.ask(image, f"stat /bin/{name}"))[0] for name in ("busybox", "sh", "ls")}
    assert len(inodes) <= 2  # `ash` and its friends are hard links of one file


async def test_file_capabilities_and_attributes_survive(rig: Rig, registry: Registry) -> None:
    net_raw = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    members = (
        Member("ping", b"x", mode=0o755, xattrs={"security.capability": net_raw}),
        Member("note", b"x", xattrs={"user.note": "kept"}),
        Member("odd", b"x", uid=3_516_583_083, gid=4_294_967_290),
    )
    registry.push("attributes:1", OciImage([layer(*members)]))
    image = await rig.pull(registry.name("attributes:1"))
    assert "security.capability (20) = 01 00 00 02 00 20" in rig.ask(image, "ea_list /ping")
    assert 'user.note (4) = "kept"' in rig.ask(image, "ea_list /note")
    assert re.search(r"User: +-778384213 +Group: +-6 ", rig.ask(image, "stat /odd"))  # debugfs prints them signed


async def test_the_root_image_is_a_small_sound_ext4_that_can_grow(rig: Rig, registry: Registry) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    root = rig.images.root_image(image.ref.digest)
    assert root.stat().st_mode & 0o777 == 0o444
    subprocess.run(["e2fsck", "-fn", str(root)], check=True, capture_output=True)
    superblock = rig.ask(image, "stats -h")
    assert "Filesystem volume name:   hutch-root" in superblock
    features = superblock.split("Filesystem features:")[1].splitlines()[0].split()
    assert {"has_journal", "resize_inode", "64bit"} <= set(features)
    grown = rig.home / "grown"
    shutil.copyfile(root, grown)
    subprocess.run(["e2fsck", "-fp", str(grown)], check=True, capture_output=True)
    subprocess.run(["resize2fs", str(grown), "20G"], check=True, capture_output=True)


async def test_progress_tells_the_phases_and_a_fraction(rig: Rig, registry: Registry) -> None:
    await rig.pull(registry.name("busybox:1"))
    phases = list(dict.fromkeys(progress.phase for progress in rig.progress))
    assert phases == ["preparing", "pulling", "unpacking", "building root image"]
    assert 1.0 in [progress.fraction for progress in rig.progress if progress.phase == "pulling"]


async def test_what_is_here_needs_no_network(rig: Rig, tmp_path: Path, make_rig: MakeRig) -> None:
    with Registry(tmp_path / "registry") as short_lived:
        short_lived.push_busybox("busybox:1")
        rig = make_rig(tmp_path / "other", insecure_registries=short_lived.host)
        await rig.images.open()
        image = await rig.pull(short_lived.name("busybox:1"))
        pinned = short_lived.name(f"busybox@{image.ref.digest}")
    assert (await rig.images.ensure(image.ref)).ref == image.ref
    assert (await rig.images.resolve(pinned)).digest == image.ref.digest
    assert (await rig.images.resolve(image.ref.digest)).digest == image.ref.digest
    with pytest.raises(errors.ImageUnavailable, match="connection refused"):
        await rig.images.resolve(short_lived.name("busybox:1"))


async def test_a_digest_reference_means_exactly_that_image(rig: Rig, registry: Registry) -> None:
    digest = registry.push("pinned:1", busybox_image())
    registry.push("pinned:1", OciImage([layer(Member("other"))]))
    image = await rig.pull(registry.name(f"pinned@{digest}"))
    assert image.ref.digest == digest
    assert rig.has(image, "/bin/busybox")


async def test_an_index_leads_to_the_manifest_for_this_platform(rig: Rig, registry: Registry) -> None:
    ours = registry.push("multi:amd64", busybox_image())
    theirs = registry.push("multi:arm64", OciImage([layer(Member("arm"))], architecture="arm64"))
    index = registry.put_index("multi", "1", ("linux", "arm64", theirs), ("linux", "amd64", ours))
    for reference in ("multi:1", f"multi@{index}"):
        assert (await rig.pull(registry.name(reference))).ref.digest == ours
    assert index != ours


async def test_an_index_digest_that_was_pulled_needs_no_network(make_rig: MakeRig, tmp_path: Path) -> None:
    with Registry(tmp_path / "registry") as short_lived:
        ours = short_lived.push("multi:amd64", busybox_image())
        index = short_lived.put_index("multi", "1", ("linux", "amd64", ours))
        rig = make_rig(insecure_registries=short_lived.host)
        await rig.images.open()
        await rig.pull(short_lived.name(f"multi@{index}"))
    assert (await rig.images.resolve(short_lived.name(f"multi@{index}"))).digest == ours


async def test_an_image_for_another_platform_only_is_refused_with_what_there_is(rig: Rig, registry: Registry) -> None:
    theirs = registry.push("arm:direct", OciImage([layer(Member("arm"))], architecture="arm64"))
    registry.put_index("arm", "index", ("linux", "arm64", theirs))
    with pytest.raises(
        errors.ImageUnavailable, match=r"arm:index: there is none for linux/amd64, only for linux/arm64"
    ):
        await rig.images.resolve(registry.name("arm:index"))
    with pytest.raises(errors.ImageUnavailable, match=r"arm:direct: it is for linux/arm64"):
        await rig.pull(registry.name("arm:direct"))


async def test_layers_in_zstd_are_understood(rig: Rig, registry: Registry) -> None:
    def zstd(data: bytes) -> bytes:
        return subprocess.run(["zstd", "-c"], input=data, check=True, capture_output=True).stdout

    registry.push("zstd:1", replace(busybox_image(), compress=zstd, layer_type="layer.v1.tar+zstd"))
    assert "+zstd" in registry.manifest("zstd", "1")
    image = await rig.pull(registry.name("zstd:1"))
    assert rig.cat(image, "/etc/message") == "from the top layer\n"


@pytest.mark.parametrize("name", ["busybox:none", "nothing:1", f"busybox@sha256:{'0' * 64}"])
async def test_what_the_registry_does_not_know_is_told_in_its_words(rig: Rig, registry: Registry, name: str) -> None:
    with pytest.raises(errors.ImageUnavailable, match=f"^{re.escape(registry.name(name))}: manifest unknown") as caught:
        await rig.images.resolve(registry.name(name))
    assert "level=fatal" not in caught.value.message


async def test_an_unreachable_registry_is_told_in_words(rig: Rig) -> None:
    with pytest.raises(errors.ImageUnavailable, match="connection refused"):
        await rig.images.resolve("127.0.0.1:1/anything")


async def test_plain_http_is_spoken_only_where_the_settings_allow_it(make_rig: MakeRig, registry: Registry) -> None:
    rig = make_rig(insecure_registries="elsewhere:5000")
    await rig.images.open()
    with pytest.raises(errors.ImageUnavailable, match="HTTP response to HTTPS client"):
        await rig.images.resolve(registry.name("busybox:1"))


async def test_what_is_no_container_image_is_refused(rig: Rig, registry: Registry) -> None:
    image = OciImage([layer(Member("chart"))], config_type="unknown.artifact.v1+json")
    registry.push("artifact:1", image)
    with pytest.raises(errors.ImageUnavailable, match=r"not a container image but \S+unknown"):
        await rig.pull(registry.name("artifact:1"))


async def test_a_malformed_reference_is_an_invalid_request(rig: Rig) -> None:
    with pytest.raises(errors.InvalidRequest, match="lower case"):
        await rig.images.resolve("Alpine")


async def test_a_private_registry_wants_the_right_password(make_rig: MakeRig, tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", private=True) as private:
        private.push_busybox("secret:1")
        wrong = private.auth_file(tmp_path / "wrong.json", "guessed")
        right = private.auth_file(tmp_path / "right.json")
        for number, auth_file in enumerate(("", str(wrong))):
            rig = make_rig(tmp_path / str(number), insecure_registries=private.host, auth_file=auth_file)
            await rig.images.open()
            with pytest.raises(errors.ImageUnavailable, match="unauthorized: authentication required"):
                await rig.images.resolve(private.name("secret:1"))
        rig = make_rig(tmp_path / "right", insecure_registries=private.host, auth_file=str(right))
        await rig.images.open()
        assert (await rig.pull(private.name("secret:1"))).config.user == "worker"
