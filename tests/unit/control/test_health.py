"""What the service says of itself."""

import pytest

from hutch.control.pools import PoolRequest
from hutch.control.requests import MachineRequest
from hutch.model import errors
from hutch.model.states import State
from unit.control.rig import Rig


async def test_a_report_counts_machines_by_state(rig: Rig) -> None:
    await rig.launch()
    await rig.create()
    await rig.create()
    report = rig.plane.health.report()
    assert report.machines == {State.RUNNING: 1, State.STOPPED: 2}
    assert report.pools == 0
    await rig.plane.pools.create(rig.me, PoolRequest(MachineRequest("debian"), min=0, max=1))
    assert rig.plane.health.report().pools == 1
    assert (report.version, report.host.accelerator) == ("test", "simulated")
    assert report.uptime >= 0


async def test_a_cluster_keeps_its_id(rig: Rig) -> None:
    cluster = rig.plane.health.report().cluster
    await rig.restart()
    assert rig.plane.health.report().cluster == cluster != ""


async def test_the_box_tells_what_it_has(rig: Rig) -> None:
    assert (await rig.plane.health.capacity()).cpus == 8


async def test_it_is_ready_while_it_is_open_and_its_database_answers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise errors.HutchError("the database failed", database="gone")

    assert await rig.plane.health.is_ready()
    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "ping", broken)
        assert not await rig.plane.health.is_ready()
    await rig.plane.close()
    assert not await rig.plane.health.is_ready()
