"""Domains: who may have which name, what proves it, and where it leads."""

import asyncio

import pytest

from hutch.control import domains
from hutch.control.exposure import Target
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.domains import Domain
from hutch.model.ids import MachineId
from hutch.model.network import PublishedPort
from hutch.notify.interface import NotSent
from unit.control.rig import Rig, soon, turn

NAME = "shop.example"


async def add(rig: Rig, machine: MachineId, name: str = NAME, port: int = 80) -> Domain:
    return await rig.plane.domains.add(rig.me, name, machine, port)


def prove(rig: Rig, domain: Domain) -> None:
    rig.proofs.records[domain.record] = ["something else", domain.proof]


async def verified(rig: Rig, machine: MachineId, name: str = NAME, port: int = 80) -> Domain:
    prove(rig, await add(rig, machine, name, port))
    return await rig.plane.domains.verify(rig.me, name)


async def theirs(rig: Rig) -> tuple[Principal, MachineId]:
    """Another tenant with a machine."""
    other = await rig.someone(tenant="other")
    await rig.plane.core.accounts.load(list((await rig.store.load()).tenants))
    me, rig.me = rig.me, other
    machine = await rig.create()
    rig.me = me
    return other, machine


async def test_a_name_leads_where_it_should_once_it_is_verified(rig: Rig) -> None:
    machine = await rig.create()
    domain = await add(rig, machine, port=8080)
    assert (domain.verified_at, rig.plane.domains.find(NAME)) == (None, None)
    prove(rig, domain)
    done = await rig.plane.domains.verify(rig.me, NAME)
    assert done.verified_at == rig.clock.now()
    assert rig.plane.domains.find(NAME) == Target(machine, 8080)
    assert rig.plane.exposure.find(f"{NAME}:443", "/a?b") == (Target(machine, 8080), "/a?b")
    assert rig.plane.domains.find("www.shop.example") is None


async def test_what_becomes_of_a_name_is_among_its_machines_events(rig: Rig) -> None:
    machine = await rig.create()
    await verified(rig, machine)
    await add(rig, machine, port=81)
    await rig.plane.domains.remove(rig.me, NAME)
    assert [it for it in await rig.messages(machine) if it.startswith("domain")] == [
        "domain shop.example, port 80: is claimed",
        "domain shop.example, port 80: is verified and leads here",
        "domain shop.example, port 81: leads here",
        "domain shop.example, port 81: was given up",
    ]


async def test_a_file_proves_it_as_well(rig: Rig) -> None:
    domain = await add(rig, await rig.create())
    assert domain.url == f"http://shop.example/.well-known/hutch/{domain.token}"
    rig.proofs.pages[domain.url] = f"{domain.proof}\n"
    assert (await rig.plane.domains.verify(rig.me, NAME)).verified_at is not None


async def test_without_a_proof_the_error_tells_what_is_there_instead(rig: Rig) -> None:
    domain = await add(rig, await rig.create())
    with pytest.raises(errors.Conflict, match=f"TXT record {domain.proof} .it has none.*it answered 404"):
        await rig.plane.domains.verify(rig.me, NAME)
    rig.proofs.records[domain.record] = [f"{domain.proof}x"]
    rig.proofs.pages[domain.url] = domain.token
    with pytest.raises(errors.Conflict, match=r"it has others.*it has another"):
        await rig.plane.domains.verify(rig.me, NAME)
    assert rig.plane.domains.find(NAME) is None


async def test_name_servers_that_do_not_answer_leave_the_file(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: str) -> list[str]:
        raise NotSent("no name server answered")

    async def hang(_: str) -> list[str]:
        await asyncio.get_running_loop().create_future()
        return []

    domain = await add(rig, await rig.create())
    monkeypatch.setattr(rig.proofs, "texts", fail)
    with pytest.raises(errors.Conflict, match="no name server answered"):
        await rig.plane.domains.verify(rig.me, NAME)
    monkeypatch.setattr(rig.proofs, "texts", hang)
    monkeypatch.setattr(domains, "PROOF_LIMIT", 0.05)
    with pytest.raises(errors.Conflict, match=r"no answer within 0\.05 s"):
        await rig.plane.domains.verify(rig.me, NAME)
    rig.proofs.pages[domain.url] = domain.proof
    assert (await rig.plane.domains.verify(rig.me, NAME)).verified_at is not None


async def test_a_tenant_has_few_proofs_looked_for_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "VERIFYING_AT_ONCE", 1)
    hold = asyncio.Event()

    async def wait(_: str) -> list[str]:
        await hold.wait()
        return []

    monkeypatch.setattr(rig.proofs, "texts", wait)
    machine = await rig.create()
    for name in (NAME, "other.example"):
        domain = await add(rig, machine, name)
        rig.proofs.pages[domain.url] = domain.proof
    first = soon(rig.plane.domains.verify(rig.me, NAME))
    await turn()
    with pytest.raises(errors.RateLimited, match="1 domains are being verified"):
        await rig.plane.domains.verify(rig.me, "other.example")
    hold.set()
    assert (await first).verified_at is not None
    assert (await rig.plane.domains.verify(rig.me, "other.example")).verified_at is not None


async def test_two_may_claim_a_name_and_who_proves_it_has_it(rig: Rig) -> None:
    other, machine = await theirs(rig)
    ours = await add(rig, await rig.create())
    claim = await rig.plane.domains.add(other, NAME, machine, 80)
    assert claim.token != ours.token
    prove(rig, claim)
    with pytest.raises(errors.Conflict, match="not verified"):
        await rig.plane.domains.verify(rig.me, NAME)
    await rig.plane.domains.verify(other, NAME)
    prove(rig, ours)
    for refused in (rig.plane.domains.verify(rig.me, NAME), add(rig, ours.machine)):
        with pytest.raises(errors.Conflict, match="another tenant's"):
            await refused
    assert rig.plane.domains.find(NAME) == Target(machine, 80)
    await rig.plane.domains.remove(other, NAME)
    assert rig.plane.domains.find(NAME) is None
    await rig.plane.domains.verify(rig.me, NAME)
    assert rig.plane.domains.find(NAME) == Target(ours.machine, 80)


async def test_of_two_that_prove_it_at_once_one_has_it(rig: Rig) -> None:
    other, machine = await theirs(rig)
    claims = [await add(rig, await rig.create()), await rig.plane.domains.add(other, NAME, machine, 80)]
    rig.proofs.records[claims[0].record] = [claim.proof for claim in claims]
    told = await asyncio.gather(
        *(soon(rig.plane.domains.verify(who, NAME)) for who in (rig.me, other)), return_exceptions=True
    )
    assert sorted(type(it).__name__ for it in told) == ["Conflict", "Domain"]
    assert len([it for it in (await rig.store.load()).domains if it.verified_at]) == 1


async def test_a_claim_goes_with_its_machine_and_no_other_is_reached_by_it(rig: Rig) -> None:
    machine = await rig.create(name="web")
    await verified(rig, machine)
    await rig.plane.machines.delete(rig.me, machine)
    await rig.create(name="web")
    assert rig.plane.domains.find(NAME) is None
    assert (rig.plane.domains.list(rig.me), list((await rig.store.load()).domains)) == ([], [])
    other, its = await theirs(rig)
    assert (await rig.plane.domains.add(other, NAME, its, 80)).verified_at is None


async def test_a_name_is_led_elsewhere_without_being_proven_again(rig: Rig) -> None:
    first, second = await rig.create(), await rig.create()
    before = await verified(rig, first)
    moved = await add(rig, second, port=81)
    assert (moved.token, moved.verified_at) == (before.token, before.verified_at)
    assert rig.plane.domains.find(NAME) == Target(second, 81)
    await rig.plane.machines.delete(rig.me, first)
    assert rig.plane.domains.find(NAME) == Target(second, 81)


async def test_domains_are_there_after_a_restart(rig: Rig) -> None:
    machine = await rig.create()
    await verified(rig, machine)
    await add(rig, machine, "other.example")
    before = rig.plane.domains.list(rig.me)
    await rig.crash_and_restart()
    assert rig.plane.domains.list(rig.me) == before
    assert rig.plane.domains.find(NAME) == Target(machine, 80)
    assert rig.plane.domains.find("other.example") is None


@pytest.mark.parametrize(
    ("given", "name"),
    [("Shop.Example.", NAME), ("münchen.de", "xn--mnchen-3ya.de"), ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de")],
)
async def test_a_name_is_taken_in_any_spelling(rig: Rig, given: str, name: str) -> None:
    assert (await add(rig, await rig.create(), given)).name == name
    assert rig.plane.domains.get(rig.me, given).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "shop", "localhost", "1.2.3.4", "::1", "[::1]", "0x7f.0x1", "a..b", "*.shop.example", "a b.example"),
        *("_hutch.shop.example", "shop.example:80", "http://shop.example", "-a.example", "x" * 64 + ".example"),
        *(
            "a." * 127 + "example",
            "☃.example",
            "hutch.localhost",
            "web-80.hutch.localhost",
            "x.localhost",
            "a\0.example",
        ),
    ],
)
async def test_what_is_no_name_of_the_worlds_is_refused(rig: Rig, name: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="domain"):
        await add(rig, await rig.create(), name)


@pytest.mark.parametrize("port", [0, -1, 65536])
async def test_a_port_that_none_can_have_is_refused(rig: Rig, port: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="port"):
        await add(rig, await rig.create(), port=port)


async def test_domains_are_their_tenants_alone(rig: Rig) -> None:
    other, its = await theirs(rig)
    ours = await rig.create()
    await verified(rig, ours)
    with pytest.raises(errors.NotFound, match="machine"):
        await add(rig, its, "other.example")
    for refused in (rig.plane.domains.verify, rig.plane.domains.remove):
        with pytest.raises(errors.NotFound, match="domain"):
            await refused(other, NAME)
    with pytest.raises(errors.NotFound, match="domain"):
        rig.plane.domains.get(other, NAME)
    assert rig.plane.domains.list(other) == []


async def test_a_key_that_may_only_look_changes_nothing(rig: Rig) -> None:
    machine = await rig.create()
    await verified(rig, machine)
    reader = await rig.someone("machine:read")
    assert [it.name for it in rig.plane.domains.list(reader)] == [NAME]
    for refused in (
        rig.plane.domains.add(reader, "other.example", machine, 80),
        rig.plane.domains.verify(reader, NAME),
        rig.plane.domains.remove(reader, NAME),
    ):
        with pytest.raises(errors.Forbidden):
            await refused


async def test_a_tenant_has_so_many_at_most(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "MOST", 2)
    machine = await rig.create()
    for name in ("a.example", "b.example", "b.example"):
        await add(rig, machine, name)
    with pytest.raises(errors.Conflict, match="2 domains already"):
        await add(rig, machine, "c.example")


async def test_certificates_are_for_verified_domains_and_published_ports(rig: Rig) -> None:
    machine = await rig.create(name="web")
    await verified(rig, machine)
    await add(rig, machine, "claimed.example")
    own = "hutch.localhost"
    names = (NAME, f"{machine}-80.{own}", f"80-{machine}.{own}", f"web-80.{own}")
    others = ("claimed.example", "other.example", own, f"{machine}-81.{own}", f"x-80.{own}", "", "..", "\0", "x" * 9999)
    assert [rig.plane.certificates.is_wanted(it) for it in names] == [True, False, False, False]
    await rig.plane.exposure.publish(rig.me, machine, [PublishedPort(80)])
    assert [rig.plane.certificates.is_wanted(it) for it in (*names, NAME.upper())] == [True] * 5
    assert [it for it in others if rig.plane.certificates.is_wanted(it)] == []
