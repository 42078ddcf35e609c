"""Names of tenants' own, as every store keeps them."""

import dataclasses

import pytest

from contract.store_suite.nouns import NOW, OURS, THEIRS, a_domain, a_machine, an_event
from hutch.model import errors
from hutch.model.domains import Domain
from hutch.model.keys import Tenant
from hutch.model.machine import Machine
from hutch.model.states import State
from hutch.store.interface import Store


async def add(store: Store, name: str = "web", tenant: Tenant = OURS) -> Machine:
    machine = a_machine(name, tenant)
    await store.add_machine(machine, an_event(machine))
    return machine


def verified(domain: Domain) -> Domain:
    return dataclasses.replace(domain, verified_at=NOW)


async def test_a_domain_comes_back_until_it_is_removed(store: Store) -> None:
    first, other = await add(store), await add(store, "other")
    domain = a_domain(first.id)
    await store.add_domain(domain)
    moved = dataclasses.replace(verified(domain), machine=other.id, port=1)
    await store.save_domain(moved)
    assert list((await store.load()).domains) == [moved]
    for _ in range(2):
        await store.remove_domain(moved)
    await store.save_domain(moved)
    assert list((await store.load()).domains) == []


async def test_a_tenant_claims_a_name_once(store: Store) -> None:
    domain = a_domain((await add(store)).id)
    await store.add_domain(domain)
    with pytest.raises(errors.Conflict, match=r"shop\.example"):
        await store.add_domain(domain)
    await store.add_domain(a_domain(domain.machine, "other.example"))
    assert len((await store.load()).domains) == 2


async def test_two_may_claim_a_name_and_one_has_it(store: Store) -> None:
    ours = a_domain((await add(store)).id)
    theirs = a_domain((await add(store, tenant=THEIRS)).id, tenant=THEIRS)
    await store.add_domain(ours)
    await store.add_domain(theirs)
    await store.save_domain(verified(theirs))
    with pytest.raises(errors.Conflict, match="another tenant's"):
        await store.save_domain(verified(ours))
    assert {it.tenant for it in (await store.load()).domains if it.verified_at} == {THEIRS.id}
    await store.remove_domain(theirs)
    await store.save_domain(verified(ours))
    assert list((await store.load()).domains) == [verified(ours)]


async def test_domains_go_with_their_machine(store: Store) -> None:
    going, staying = await add(store), await add(store, "other")
    await store.add_domain(a_domain(going.id))
    await store.add_domain(a_domain(staying.id, "other.example"))
    await store.save_machine(dataclasses.replace(going, state=State.DESTROYED), State.CREATING, an_event(going))
    assert [it.machine for it in (await store.load()).domains] == [staying.id]
