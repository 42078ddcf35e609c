"""What a machine's mounts may be, and who may have a volume."""

import itertools

import pytest

from hutch.host import mounts
from hutch.model import errors
from hutch.model.ids import MachineId, VolumeId
from hutch.model.machine import ImageRef, MachineSpec, Resources
from hutch.model.volumes import Mount

A, B = VolumeId("a" * 20), VolumeId("b" * 20)
HOLDER = MachineId("m" * 20)


def test_what_is_sensible_is_allowed() -> None:
    mounts.check([])
    mounts.check([Mount(A, "/data"), Mount(B, "/data2", readonly=True)])
    mounts.check([Mount(A, "/srv/ä b/c"), Mount(B, "/run/user"), Mount(VolumeId("c" * 20), "/processes")])


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "", "data", "./data", "/data/", "//data", "/data//x", "/data/.", "/..", "/a/../../proc"),
        *("/proc", "/proc/self", "/sys", "/dev/shm", "/run/hutch", "/run/systemd/x"),
        *("/a\nb", "/a\0b", "/\ud800", "/" + "x" * 256, "/x" * 600),
    ],
)
def test_a_path_that_is_no_place_is_refused(path: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="mounts"):
        mounts.check([Mount(A, path)])


@pytest.mark.parametrize("id", ["", "x", "../../../etc/passwd", "A" * 20, "a" * 21, "a" * 19 + "\n", "a" * 19 + ","])
def test_an_id_that_could_be_anything_else_is_refused(id: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="no id of a volume"):
        mounts.check([Mount(VolumeId(id), "/data")])


@pytest.mark.parametrize("other", [Mount(B, "/data"), Mount(B, "/data/x"), Mount(B, "/"), Mount(A, "/other")])
def test_mounts_do_not_meet(other: Mount) -> None:
    for pair in itertools.permutations([Mount(A, "/data"), other]):
        with pytest.raises(errors.InvalidRequest):
            mounts.check(pair)


@pytest.mark.parametrize(("mine", "theirs"), [*itertools.product([True, False], repeat=2)])
def test_one_writes_or_many_read(mine: bool, theirs: bool) -> None:
    held = [(HOLDER, Mount(B, "/x")), (HOLDER, Mount(A, "/x", readonly=theirs))]
    wanted = [Mount(A, "/data", readonly=mine)]
    if mine and theirs:
        mounts.check_free(wanted, held)
    else:
        with pytest.raises(errors.Conflict, match=f"{A}.*{HOLDER}"):
            mounts.check_free(wanted, held)


def test_only_a_machine_that_writes_no_volume_can_be_copied() -> None:
    def spec(*mounted: Mount) -> MachineSpec:
        return MachineSpec(ImageRef("debian", "sha256:0"), Resources(1, 128, 1), "m", mounts=mounted)

    mounts.check_copyable(HOLDER, spec())
    mounts.check_copyable(HOLDER, spec(Mount(A, "/a", readonly=True)))
    with pytest.raises(errors.Conflict, match=f"{B} at /b"):
        mounts.check_copyable(HOLDER, spec(Mount(A, "/a", readonly=True), Mount(B, "/b")))
