"""Volumes: disks that outlive machines."""

import asyncio
from typing import Any

import pytest

from hutch.control.machines import ForkRequest, MachineRequest, MountRequest
from hutch.control.pools import PoolRequest
from hutch.model import errors, ids
from hutch.model.ids import VolumeId
from hutch.model.keys import Limits
from hutch.model.volumes import Mount, Volume
from unit.control.rig import Rig, turn


def held(rig: Rig) -> dict[VolumeId, int]:
    """What the host has, with sizes."""
    return {volume.id: volume.size_gib for volume in rig.plane.core.host.volumes.list()}


async def make(rig: Rig, name: str = "data", size_gib: int = 3) -> Volume:
    return await rig.plane.volumes.create(rig.me, name, size_gib)


def mount(volume: str = "data", path: str = "/data", readonly: bool = False) -> dict[str, Any]:
    return {"mounts": (MountRequest(volume, path, readonly),)}


async def test_a_volume_is_there_on_the_host_and_in_the_record_until_it_is_deleted(rig: Rig) -> None:
    volume, volumes = await make(rig), rig.plane.volumes
    assert held(rig) == {volume.id: 3}
    assert volumes.list(rig.me) == [volume]
    assert volumes.find(rig.me, "data") == volumes.find(rig.me, volume.id) == volume
    await volumes.delete(rig.me, volume.id)
    assert (volumes.list(rig.me), held(rig)) == ([], {})
    with pytest.raises(errors.NotFound):
        volumes.find(rig.me, "data")


async def test_a_volume_outlives_its_machine_and_the_service(rig: Rig) -> None:
    volume = await make(rig)
    machine = await rig.create(**mount())
    await rig.plane.machines.delete(rig.me, machine)
    await rig.restart()
    assert rig.plane.volumes.list(rig.me) == [volume]
    assert held(rig) == {volume.id: 3}


async def test_a_name_is_its_own_also_for_two_at_once(rig: Rig) -> None:
    made = await asyncio.gather(*(make(rig) for _ in range(3)), return_exceptions=True)
    assert sorted(type(it).__name__ for it in made) == ["Conflict", "Conflict", "Volume"]
    assert len(held(rig)) == 1


@pytest.mark.parametrize(("name", "size"), [("a b", 1), ("", 1), ("data", 0), ("data", 10**6)])
async def test_what_no_volume_can_be_is_refused(rig: Rig, name: str, size: int) -> None:
    with pytest.raises(errors.InvalidRequest):
        await make(rig, name, size)
    assert held(rig) == {}


async def test_volumes_are_counted_against_the_quotas(rig: Rig) -> None:
    await rig.plane.tenants.update(rig.me, rig.me.tenant, Limits(volumes=2, disk_gib=5))
    await make(rig)
    with pytest.raises(errors.QuotaExceeded, match="3 GiB more disk"):
        await make(rig, "more")
    await make(rig, "less", 2)
    with pytest.raises(errors.QuotaExceeded):
        await make(rig, "third", 1)


async def test_a_volume_that_cannot_be_recorded_is_not_left_on_the_host(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise errors.HutchError("the database failed")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "add_volume", refuse)
        with pytest.raises(errors.HutchError):
            await make(rig)
    assert held(rig) == {}
    await make(rig)


async def test_what_no_record_tells_of_is_removed_at_the_next_start(rig: Rig) -> None:
    await rig.create()
    await rig.plane.core.host.volumes.create(ids.new_volume_id(), 1)
    await rig.crash_and_restart()
    assert held(rig) == {}


async def test_a_new_database_does_not_take_the_volumes_of_a_home(rig: Rig) -> None:
    await make(rig)
    await rig.crash()
    rig.plane = rig.assemble(type(rig.store)(), rig.plane.core.host)  # type: ignore[call-arg]
    with pytest.raises(errors.Conflict, match="the database is new"):
        await rig.open()
    assert len(held(rig)) == 1


async def test_another_tenants_volume_is_not_found(rig: Rig) -> None:
    volume, stranger, volumes = await make(rig), await rig.someone(tenant="other"), rig.plane.volumes
    assert volumes.list(stranger) == []
    for work in (volumes.find, volumes.attached):
        with pytest.raises(errors.NotFound):
            work(stranger, volume.id)
    with pytest.raises(errors.NotFound):
        await volumes.delete(stranger, volume.id)
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.create(stranger, MachineRequest("alpine", **mount(volume.id)))


@pytest.mark.parametrize("scope", ["volume:create", "volume:read", "volume:delete"])
async def test_each_call_needs_its_scope(rig: Rig, scope: str) -> None:
    volume, volumes = await make(rig), rig.plane.volumes
    who = await rig.someone(*({"volume:create", "volume:read", "volume:delete"} - {scope}))
    calls = {
        "volume:create": lambda: volumes.create(who, "more", 1),
        "volume:read": lambda: asyncio.to_thread(volumes.list, who),
        "volume:delete": lambda: volumes.delete(who, volume.id),
    }
    with pytest.raises(errors.Forbidden, match=scope):
        await calls[scope]()


async def test_mounts_are_kept_in_the_spec_by_id_or_name(rig: Rig) -> None:
    first, second = await make(rig), await make(rig, "more")
    mounts = (MountRequest(first.id, "/a"), MountRequest("more", "/b/c", readonly=True))
    machine = await rig.create(mounts=mounts)
    assert rig.get(machine).spec.mounts == (Mount(first.id, "/a"), Mount(second.id, "/b/c", readonly=True))
    assert rig.plane.volumes.attached(rig.me, first.id) == [machine]


@pytest.mark.parametrize(
    ("mounts", "words"),
    [
        ([("data", "data")], "absolute path"),
        ([("data", "/")], "plain directory"),
        ([("data", "/a/../b")], "plain directory"),
        ([("data", "/a/")], "plain directory"),
        ([("data", "/a"), ("more", "/a")], "path '/a' is given twice"),
        ([("data", "/a"), ("data", "/b")], "volume 'data' is given twice"),
        ([(f"v{number}", f"/{number}") for number in range(9)], "at most 8"),
    ],
)
async def test_mounts_that_cannot_be_are_refused(rig: Rig, mounts: list[Any], words: str) -> None:
    for name in ("data", "more"):
        await make(rig, name)
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.create(mounts=tuple(MountRequest(*it) for it in mounts))


async def test_one_volume_by_its_id_and_its_name_is_one_too_many(rig: Rig) -> None:
    volume = await make(rig)
    with pytest.raises(errors.InvalidRequest, match="by its id and by its name"):
        await rig.create(mounts=(MountRequest(volume.id, "/a"), MountRequest("data", "/b")))


async def test_an_unknown_volume_is_not_found_and_no_machine_is_made(rig: Rig) -> None:
    with pytest.raises(errors.NotFound, match="volume"):
        await rig.create(**mount())
    assert rig.plane.machines.list(rig.me) == []


async def test_a_mounted_volume_is_not_deleted_and_the_error_names_the_machine(rig: Rig) -> None:
    volume = await make(rig)
    machine = await rig.create(**mount())
    with pytest.raises(errors.Conflict, match=machine):
        await rig.plane.volumes.delete(rig.me, volume.id)
    await rig.plane.machines.delete(rig.me, machine)
    await rig.plane.volumes.delete(rig.me, volume.id)


def slow_down(monkeypatch: pytest.MonkeyPatch, it: object, name: str) -> None:
    """Let others have their turn before and after."""
    real = getattr(it, name)

    async def slow(*arguments: object) -> object:
        await turn(5)
        result = await real(*arguments)
        await turn(5)
        return result

    monkeypatch.setattr(it, name, slow)


@pytest.mark.parametrize("turns", range(0, 30, 2))
async def test_a_volume_is_deleted_or_mounted_and_never_both(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    for it, name in (
        (rig.store, "add_machines"),
        (rig.store, "remove_volume"),
        (rig.plane.core.host.volumes, "remove"),
    ):
        slow_down(monkeypatch, it, name)
    volume = await make(rig)
    creating = asyncio.ensure_future(rig.create(**mount()))
    await turn(turns)
    deleting = rig.plane.volumes.delete(rig.me, volume.id)
    made, deleted = await asyncio.gather(creating, deleting, return_exceptions=True)
    assert isinstance(deleted, errors.Conflict) != isinstance(made, errors.NotFound)
    assert len(rig.plane.machines.list(rig.me)) == len(held(rig))


@pytest.mark.parametrize("turns", range(0, 30, 2))
async def test_a_volume_that_is_being_deleted_is_not_mounted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    slow_down(monkeypatch, rig.store, "remove_volume")
    slow_down(monkeypatch, rig.plane.core.host.volumes, "remove")
    volume = await make(rig)
    deleting = asyncio.ensure_future(rig.plane.volumes.delete(rig.me, volume.id))
    await turn(turns)
    made, deleted = await asyncio.gather(rig.create(**mount()), deleting, return_exceptions=True)
    assert isinstance(deleted, errors.Conflict) != isinstance(made, errors.NotFound)
    assert len(rig.plane.machines.list(rig.me)) == len(held(rig))


async def test_a_machine_that_writes_a_volume_is_not_copied_and_one_that_reads_it_is(rig: Rig) -> None:
    await make(rig)
    writer, reader = await rig.create(**mount()), await rig.create(**mount(readonly=True))
    await rig.plane.machines.start(rig.me, writer)
    with pytest.raises(errors.Conflict, match="one writer"):
        await rig.plane.machines.fork(rig.me, writer, ForkRequest())
    await rig.plane.machines.delete(rig.me, writer)
    await rig.plane.machines.start(rig.me, reader)
    (child,) = await rig.plane.machines.fork(rig.me, reader, ForkRequest())
    assert child.spec.mounts == rig.get(reader).spec.mounts
    await rig.plane.snapshots.create(rig.me, reader, "saved")
    copy = await rig.create(image="", snapshot="saved")
    assert rig.get(copy).spec.mounts == child.spec.mounts
    with pytest.raises(errors.InvalidRequest, match="leave them out"):
        await rig.create(image="", snapshot="saved", **mount())


async def test_a_machine_with_a_volume_is_not_taken_out_of_a_pool(rig: Rig) -> None:
    await make(rig)
    await rig.plane.pools.create(rig.me, PoolRequest(MachineRequest("alpine"), min=1))
    await rig.settle()
    machine = await rig.create(**mount())
    await rig.plane.machines.start(rig.me, machine)
    assert rig.plane.pools.list(rig.me)[0].claimed == 0
    with pytest.raises(errors.InvalidRequest, match="a pool has an image"):
        await rig.plane.pools.create(rig.me, PoolRequest(MachineRequest("alpine", **mount())))


async def test_a_volume_costs_its_disk_from_creation_to_deletion(rig: Rig) -> None:
    volume = await make(rig, size_gib=4)
    rig.clock.advance(3600)
    await rig.plane.volumes.delete(rig.me, volume.id)
    rig.clock.advance(3600)
    usage = (await rig.plane.usage.report(rig.me)).usage
    assert (usage.disk_gib_hours, usage.machines) == (4.0, 0)
