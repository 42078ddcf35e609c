"""Tenants: made and limited by the admin of the box; a suspended one may look and delete, and nothing of it runs."""

import asyncio
import dataclasses

import pytest

from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.control.pools import PoolRequest
from hutch.control.sanctions import find_verb
from hutch.model import errors
from hutch.model.ids import TenantId
from hutch.model.keys import Limits, Tenant
from hutch.model.machine import Persistence
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, turn


async def join(rig: Rig, name: str = "them", *scopes: str) -> tuple[Tenant, Principal]:
    """A new tenant, and whoever holds its first key."""
    tenant = await rig.plane.tenants.create(rig.me, name)
    _, token = await rig.plane.keys.create(rig.me, scopes=scopes or ("admin",), tenant=tenant.id)
    return tenant, rig.plane.keys.authenticate(token)


async def launch(rig: Rig, who: Principal, **fields: object) -> str:
    request = MachineRequest(**{"image": "alpine", **fields})  # type: ignore[arg-type]
    return (await rig.plane.machines.launch(who, request)).id


async def test_a_new_tenant_is_there_for_the_admin_and_for_itself(rig: Rig) -> None:
    tenant, they = await join(rig)
    assert [it.name for it in rig.plane.tenants.list(rig.me)] == ["default", "them"]
    assert rig.plane.tenants.get(they, tenant.id) == rig.plane.tenants.get(rig.me, tenant.id) == tenant
    with pytest.raises(errors.NotFound):
        rig.plane.tenants.get(they, rig.me.tenant)


async def test_a_tenants_name_is_its_own(rig: Rig) -> None:
    await join(rig)
    for name in ("them", "default"):
        with pytest.raises(errors.Conflict, match=name):
            await rig.plane.tenants.create(rig.me, name)
    with pytest.raises(errors.InvalidRequest):
        await rig.plane.tenants.create(rig.me, "a b")


async def test_only_the_admin_of_the_box_may_do_any_of_this(rig: Rig) -> None:
    tenant, they = await join(rig)
    tenants = rig.plane.tenants
    for who in (they, await rig.someone("usage:read")):
        for work in (
            tenants.create(who, "more"),
            tenants.update(who, tenant.id, Limits()),
            tenants.suspend(who, tenant.id),
            tenants.reactivate(who, tenant.id),
        ):
            with pytest.raises(errors.Forbidden):
                await work
        with pytest.raises(errors.Forbidden):
            tenants.list(who)


async def test_a_key_of_another_tenant_is_made_by_the_admin_of_the_box_alone(rig: Rig) -> None:
    tenant, they = await join(rig)
    assert they.tenant == tenant.id
    with pytest.raises(errors.NotFound):
        await rig.plane.keys.create(they, tenant=rig.me.tenant)
    with pytest.raises(errors.NotFound):
        await rig.plane.keys.create(rig.me, tenant=TenantId("nobody"))


@pytest.mark.parametrize("limits", [Limits(machines=-1), Limits(requests_per_second=-0.5)])
async def test_a_limit_below_nothing_is_refused_by_name(rig: Rig, limits: Limits) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"is -"):
        await rig.plane.tenants.create(rig.me, "them", limits)


async def test_limits_and_suspension_outlive_a_restart(rig: Rig) -> None:
    tenant, _ = await join(rig)
    await rig.plane.tenants.update(rig.me, tenant.id, Limits(machines=3))
    await rig.plane.tenants.suspend(rig.me, tenant.id)
    await rig.restart()
    found = rig.plane.tenants.get(rig.me, tenant.id)
    assert found == dataclasses.replace(tenant, is_suspended=True, limits=Limits(machines=3))


async def test_a_suspended_tenant_may_look_and_delete_and_nothing_else(rig: Rig) -> None:
    tenant, they = await join(rig)
    machine = await launch(rig, they)
    await rig.plane.tenants.suspend(rig.me, tenant.id)
    machines = rig.plane.machines
    for work in (
        machines.create(they, MachineRequest("alpine")),
        machines.start(they, machine),  # type: ignore[arg-type]
        machines.stop(they, machine),  # type: ignore[arg-type]
        rig.plane.keys.create(they),
        rig.plane.volumes.create(they, "data", 1),
    ):
        with pytest.raises(errors.Suspended):
            await work
    assert [it.id for it in machines.list(they)] == [machine]
    assert len(await rig.plane.keys.list(they)) == 1
    await rig.plane.usage.report(they)
    await machines.delete(they, machine)  # type: ignore[arg-type]
    await rig.plane.keys.revoke(they, they.key)


async def test_a_key_without_the_scope_hears_of_that_and_not_of_the_suspension(rig: Rig) -> None:
    tenant, they = await join(rig, "them", "machine:read")
    await rig.plane.tenants.suspend(rig.me, tenant.id)
    with pytest.raises(errors.Forbidden, match="missing scope"):
        await rig.plane.machines.create(they, MachineRequest("alpine"))


async def test_running_machines_of_a_suspended_tenant_are_suspended_and_no_others(rig: Rig) -> None:
    tenant, they = await join(rig)
    theirs, ephemeral = await launch(rig, they), await launch(rig, they, persistence=Persistence.EPHEMERAL)
    ours = await rig.launch()
    await rig.plane.tenants.suspend(rig.me, tenant.id)
    await rig.settle()
    states = {it.id: it.state for it in rig.plane.machines.list(they)}
    assert states == {theirs: State.SUSPENDED, ephemeral: State.PAUSED}
    assert rig.state(ours) is State.RUNNING


async def test_a_crash_only_delays_it(rig: Rig) -> None:
    tenant, they = await join(rig)
    machine = await launch(rig, they)
    account = rig.plane.core.accounts.get(tenant.id)
    assert account is not None
    await rig.plane.core.accounts.save(account, is_suspended=True)
    await rig.crash_and_restart()
    await turn()
    rig.clock.advance(1)
    await turn()
    await rig.settle()
    assert [it.state for it in rig.plane.machines.list(they) if it.id == machine] == [State.SUSPENDED]


async def test_a_tenant_that_is_reactivated_may_do_everything_again_with_the_same_principal(rig: Rig) -> None:
    tenant, they = await join(rig)
    machine = await launch(rig, they)
    await rig.plane.tenants.suspend(rig.me, tenant.id)
    await rig.settle()
    await rig.plane.tenants.reactivate(rig.me, tenant.id)
    assert (await rig.plane.machines.start(they, machine)).state is State.RUNNING  # type: ignore[arg-type]


async def test_the_default_tenant_cannot_be_suspended(rig: Rig) -> None:
    with pytest.raises(errors.Conflict, match="default"):
        await rig.plane.tenants.suspend(rig.me, rig.me.tenant)
    with pytest.raises(errors.NotFound):
        await rig.plane.tenants.suspend(rig.me, TenantId("nobody"))


async def test_what_does_not_run_is_left_as_it_is(rig: Rig) -> None:
    machine = rig.get(await rig.create())
    for state in State:
        verb = find_verb(dataclasses.replace(machine, state=state))
        assert (verb is not None) == (state in (State.RUNNING, State.PAUSED))


async def test_pools_of_a_suspended_tenant_are_kept_empty_until_it_is_reactivated(rig: Rig) -> None:
    tenant, they = await join(rig)
    await rig.plane.pools.create(they, PoolRequest(MachineRequest("alpine"), min=2))

    async def come(ready: int) -> None:
        async with asyncio.timeout(LIMIT):
            while rig.plane.pools.list(they)[0].ready != ready:
                rig.plane.core.fleet.members.tick()
                await asyncio.sleep(0)
        await rig.settle()

    await come(2)
    await rig.plane.tenants.suspend(rig.me, tenant.id)
    await come(0)
    assert rig.world.machines == {}
    await rig.plane.tenants.reactivate(rig.me, tenant.id)
    await come(2)
