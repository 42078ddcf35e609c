"""Published ports: who is let in, what that wakes, and what a host or a path leads to."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hutch import settings
from hutch.control import addresses
from hutch.control.exposure import Target, Visitor
from hutch.control.machines import ForkRequest
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import TimerAction, Timers
from hutch.model.network import Endpoint, PublishedPort
from hutch.model.states import State
from hutch.store.memory import MemoryStore
from unit.control.rig import Rig, turn

PUBLIC = (PublishedPort(80, is_public=True),)
PRIVATE = (PublishedPort(80),)
NOBODY = Visitor()


@contextlib.asynccontextmanager
async def visit(rig: Rig, machine: str, visitor: Visitor = NOBODY, port: int = 80) -> AsyncIterator[Endpoint]:
    async with rig.plane.exposure.visit(Target(MachineId(machine), port), visitor) as endpoint:
        yield endpoint


async def go(rig: Rig, machine: str, visitor: Visitor = NOBODY, port: int = 80) -> Endpoint:
    async with visit(rig, machine, visitor, port) as endpoint:
        return endpoint


async def test_a_public_port_lets_everybody_in(rig: Rig) -> None:
    machine = await rig.launch(ports=PUBLIC)
    assert (await go(rig, machine)).port == 80


async def test_a_port_is_published_and_taken_back(rig: Rig) -> None:
    machine = await rig.launch()
    with pytest.raises(errors.NotPublished, match="port 80 is not published"):
        await go(rig, machine)
    it = await rig.plane.exposure.publish(rig.me, machine, (PublishedPort(90), *PUBLIC))
    assert it.ports == (PublishedPort(90), *PUBLIC)
    await go(rig, machine)
    await rig.plane.exposure.publish(rig.me, machine, ())
    with pytest.raises(errors.NotPublished):
        await go(rig, machine)
    told = [text for text in await rig.messages(machine) if "published" in text]
    assert told == ["published ports: 90, 80 (public)", "published ports: none"]


async def test_what_is_published_is_kept_over_a_restart(rig: Rig) -> None:
    machine = await rig.launch(ports=PRIVATE)
    token = rig.plane.exposure.token(rig.me, machine)
    await rig.crash_and_restart()
    await go(rig, machine, Visitor(token=token))


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ((0,), "0 is not a port"),
        ((65536,), "65536 is not a port"),
        ((-1,), "-1 is not a port"),
        ((80, 80), "80 is given twice"),
        (range(1, 18), "17 given, at most 16"),
    ],
)
async def test_ports_that_cannot_be_published_are_refused(rig: Rig, ports: Any, words: str) -> None:
    machine = await rig.create(ports=PUBLIC)
    wanted = tuple(PublishedPort(port) for port in ports)
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.plane.exposure.publish(rig.me, machine, wanted)
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.create(ports=wanted)
    assert rig.get(machine).ports == PUBLIC


async def test_publishing_needs_the_right_and_the_tenant(rig: Rig) -> None:
    machine = await rig.create(ports=PRIVATE)
    exposure = rig.plane.exposure
    reader, stranger = await rig.someone("machine:read"), await rig.someone(tenant="other")
    for principal, refused in ((reader, errors.Forbidden), (stranger, errors.NotFound)):
        with pytest.raises(refused):
            await exposure.publish(principal, machine, PUBLIC)
        with pytest.raises(refused):
            exposure.token(principal, machine)
        with pytest.raises(refused):
            exposure.sign(principal, machine, 80, None)
        with pytest.raises(refused):
            await exposure.revoke(principal, machine)
    assert rig.get(machine).ports == PRIVATE


async def test_a_private_port_lets_in_a_token_a_link_and_a_key(rig: Rig) -> None:
    machine = await rig.launch(ports=PRIVATE)
    exposure = rig.plane.exposure
    user = await rig.someone("machine:exec")
    for visitor in (
        Visitor(token=exposure.token(rig.me, machine)),
        Visitor(token=exposure.sign(rig.me, machine, 80, None).token),
        Visitor(token=exposure.sign(rig.me, machine, 80, 60).token),
        Visitor(principal=user),
        Visitor(token="worth nothing", principal=user),
    ):
        await go(rig, machine, visitor)


async def test_a_private_port_lets_in_nobody_else(rig: Rig) -> None:
    machine, other = await rig.launch(ports=PRIVATE), await rig.launch(ports=PRIVATE)
    exposure = rig.plane.exposure
    good = exposure.token(rig.me, machine)
    link = exposure.sign(rig.me, machine, 80, 60).token
    longer = link.replace("_80_", "_80_9", 1)
    for token in (None, "", "é\udc80", "x" * 100_000, good[:-1], good + "A", exposure.token(rig.me, other), longer):
        with pytest.raises(errors.Unauthenticated):
            await go(rig, machine, Visitor(token=token))
    with pytest.raises(errors.Unauthenticated):
        await go(rig, machine, Visitor(principal=await rig.someone(tenant="other")))
    with pytest.raises(errors.Forbidden, match="missing scope: machine:exec"):
        await go(rig, machine, Visitor(principal=await rig.someone("machine:read")))
    with pytest.raises(errors.NotFound):
        await go(rig, "a" * 20)


async def test_a_link_is_for_one_port_and_ends(rig: Rig) -> None:
    machine = await rig.launch(ports=(*PRIVATE, PublishedPort(90)))
    link = rig.plane.exposure.sign(rig.me, machine, 80, 60)
    assert link.expires_at is not None
    assert (link.expires_at - rig.clock.now()).total_seconds() == 60
    assert link.url == f"http://{machine}-80.hutch.localhost:7071/?hutch_token={link.token}"
    with pytest.raises(errors.Unauthenticated):
        await go(rig, machine, Visitor(token=link.token), port=90)
    await go(rig, machine, Visitor(token=link.token))
    rig.clock.advance(61)
    with pytest.raises(errors.Unauthenticated):
        await go(rig, machine, Visitor(token=link.token))


@pytest.mark.parametrize("seconds", [0, -1, 0.5, float("nan"), float("inf"), 1e12])
async def test_a_link_is_not_good_for_ever_by_a_number(rig: Rig, seconds: float) -> None:
    machine = await rig.create(ports=PRIVATE)
    with pytest.raises(errors.InvalidRequest, match="a link is good for"):
        rig.plane.exposure.sign(rig.me, machine, 80, seconds)


async def test_only_a_published_port_is_signed(rig: Rig) -> None:
    machine = await rig.create(ports=PRIVATE)
    with pytest.raises(errors.NotFound, match="port 81 is not published"):
        rig.plane.exposure.sign(rig.me, machine, 81, None)


async def test_what_is_revoked_lets_nobody_in(rig: Rig) -> None:
    machine = await rig.launch(ports=PRIVATE)
    exposure = rig.plane.exposure
    tokens = [exposure.token(rig.me, machine), exposure.sign(rig.me, machine, 80, None).token]
    await exposure.revoke(rig.me, machine)
    for token in tokens:
        with pytest.raises(errors.Unauthenticated):
            await go(rig, machine, Visitor(token=token))
    await go(rig, machine, Visitor(token=exposure.token(rig.me, machine)))
    assert "its tokens and links were revoked" in await rig.messages(machine)


async def test_a_machine_is_shared_by_one_link_at_a_time(rig: Rig) -> None:
    machine = await rig.launch(ports=(*PRIVATE, PublishedPort(90)))
    exposure = rig.plane.exposure
    kept = exposure.sign(rig.me, machine, 80, None).token
    first, second = (await exposure.share(rig.me, machine)).token, (await exposure.share(rig.me, machine)).token
    await go(rig, machine, Visitor(token=second), port=90)
    with pytest.raises(errors.Unauthenticated):
        await go(rig, machine, Visitor(token=first))
    await exposure.unshare(rig.me, machine)
    with pytest.raises(errors.Unauthenticated):
        await go(rig, machine, Visitor(token=second))
    await go(rig, machine, Visitor(token=kept))


async def test_what_is_revoked_at_once_is_revoked_each_time(rig: Rig) -> None:
    machine = await rig.create(ports=PRIVATE)
    await asyncio.gather(*(rig.plane.exposure.revoke(rig.me, machine) for _ in range(3)))
    assert rig.get(machine).token_generation == 3


async def test_only_what_publishes_something_is_shared(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.Conflict, match="no port of this machine is published"):
        await rig.plane.exposure.share(rig.me, machine)
    assert rig.get(machine).share_generation == 0


async def test_every_installation_has_a_secret_of_its_own() -> None:
    recorded = [await store.load() for store in (MemoryStore(), MemoryStore())]
    assert recorded[0].secret != recorded[1].secret
    assert recorded[0].secret not in repr(recorded[0])


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_many_visitors_wake_a_machine_once(rig: Rig, verb: str) -> None:
    machine = await rig.launch(ports=PUBLIC)
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    before = len(await rig.messages(machine))
    found = await asyncio.gather(*(go(rig, machine) for _ in range(50)))
    assert len(found) == 50
    assert rig.state(machine) is State.RUNNING
    told = (await rig.messages(machine))[before:]
    assert [text.split(":")[0].split(" ")[0] for text in told] in (["goes"], ["starting", "running"])


async def test_a_stopped_machine_is_started_only_where_its_record_says_so(rig: Rig) -> None:
    stays, comes = await rig.launch(ports=PUBLIC), await rig.launch(ports=PUBLIC, starts_on_traffic=True)
    for machine in (stays, comes):
        await rig.plane.machines.stop(rig.me, machine)
    with pytest.raises(errors.NotRunning, match="is stopped"):
        await go(rig, stays)
    await go(rig, comes)
    assert (rig.state(stays), rig.state(comes)) == (State.STOPPED, State.RUNNING)


async def test_a_machine_that_traffic_is_not_to_wake_sleeps_on(rig: Rig) -> None:
    machine = await rig.launch(ports=PUBLIC, wakes_on_traffic=False)
    await go(rig, machine)
    await rig.plane.machines.suspend(rig.me, machine)
    with pytest.raises(errors.Asleep, match="is suspended, and traffic does not wake it"):
        await go(rig, machine)
    assert rig.state(machine) is State.SUSPENDED


async def test_a_visitor_does_not_learn_why_a_machine_cannot_be_woken(rig: Rig) -> None:
    machine = await rig.launch(ports=PUBLIC)
    await rig.plane.machines.suspend(rig.me, machine)
    rig.world.faults.starts = [errors.NoCapacity("the host's own affairs")]
    with pytest.raises(errors.NotRunning) as caught:
        await go(rig, machine)
    assert "affairs" not in caught.value.message
    assert rig.state(machine) is State.SUSPENDED


async def test_a_machine_is_not_idle_while_somebody_visits(rig: Rig) -> None:
    machine = await rig.launch(ports=PUBLIC, timers=Timers(idle=30, idle_action=TimerAction.SUSPEND))
    async with visit(rig, machine):
        rig.clock.advance(100)
        await turn()
        assert rig.state(machine) is State.RUNNING
    rig.clock.advance(29)
    await turn()
    assert rig.state(machine) is State.RUNNING, "the end of a visit is activity too"
    rig.clock.advance(2)
    await rig.come(machine, State.SUSPENDED)


async def test_a_visit_that_meets_a_suspend_wakes_the_machine_again(rig: Rig) -> None:
    machine = await rig.launch(ports=PUBLIC)
    gate = rig.world.faults.gates["suspend"] = asyncio.Event()
    suspending = asyncio.ensure_future(rig.plane.machines.suspend(rig.me, machine))
    await rig.come(machine, State.SUSPENDING)
    visiting = asyncio.ensure_future(go(rig, machine))
    await turn()
    gate.set()
    await asyncio.gather(suspending, visiting)
    assert rig.state(machine) is State.RUNNING


@pytest.mark.parametrize("taken_back", ["token", "port"])
async def test_what_is_taken_back_while_a_machine_wakes_lets_nobody_in(rig: Rig, taken_back: str) -> None:
    machine = await rig.launch(ports=PRIVATE)
    token = rig.plane.exposure.token(rig.me, machine)
    gate = rig.world.faults.gates["suspend"] = asyncio.Event()
    suspending = asyncio.ensure_future(rig.plane.machines.suspend(rig.me, machine))
    await rig.come(machine, State.SUSPENDING)
    if taken_back == "token":
        taking = asyncio.ensure_future(rig.plane.exposure.revoke(rig.me, machine))
    else:
        taking = asyncio.ensure_future(rig.plane.exposure.publish(rig.me, machine, ()))
    await turn()
    visiting = asyncio.ensure_future(go(rig, machine, Visitor(token=token)))
    await turn()
    gate.set()
    with pytest.raises(errors.Unauthenticated if taken_back == "token" else errors.NotPublished):
        await visiting
    await asyncio.gather(suspending, taking)


async def test_a_machine_that_stops_meanwhile_is_not_started_again(rig: Rig) -> None:
    machine = await rig.launch(ports=PUBLIC)
    gate = rig.world.faults.gates["snapshot"] = asyncio.Event()
    copying = asyncio.ensure_future(rig.plane.snapshots.create(rig.me, machine))
    await turn()
    stopping = asyncio.ensure_future(rig.plane.machines.stop(rig.me, machine))
    await turn()
    await go(rig, machine)
    gate.set()
    await asyncio.gather(copying, stopping)
    await rig.settle()
    assert rig.state(machine) is State.STOPPED


async def test_the_machines_of_a_suspended_tenant_are_not_visited(rig: Rig) -> None:
    machine = await rig.launch(ports=PUBLIC)
    account = rig.me.account
    account.tenant = dataclasses.replace(account.tenant, is_suspended=True)
    with pytest.raises(errors.NotRunning, match="is not to be used now"):
        await go(rig, machine)


async def test_a_fork_has_the_ports_of_its_source_and_tokens_of_its_own(rig: Rig) -> None:
    machine = await rig.launch(ports=PRIVATE)
    child = (await rig.plane.machines.fork(rig.me, machine, ForkRequest()))[0]
    other = (await rig.plane.machines.fork(rig.me, machine, ForkRequest(ports=PUBLIC)))[0]
    assert (child.ports, other.ports) == (PRIVATE, PUBLIC)
    with pytest.raises(errors.Unauthenticated):
        await go(rig, child.id, Visitor(token=rig.plane.exposure.token(rig.me, machine)))


async def test_a_host_or_a_path_leads_to_a_machine(rig: Rig) -> None:
    machine = await rig.create(name="web", ports=PUBLIC)
    there = Target(machine, 80)
    for host in (
        f"{machine}-80.hutch.localhost",
        f"80-{machine}.hutch.localhost:7071",
        f"mach-{machine}-80.HUTCH.localhost.",
        f"80-mch-{machine}.hutch.localhost",
        f"inst-{machine}-80.hutch.localhost",
        "web-80.hutch.localhost",
        "80-web.hutch.localhost",
        f"{machine}.hutch.localhost:7071",
        rig.plane.exposure.host(rig.plane.machines.get(rig.me, machine)),
    ):
        assert rig.plane.exposure.find(host, "/a/b") == (there, "/a/b"), host
    for path, rest in (
        (f"/proxy/{machine}/80", "/"),
        (f"/proxy/mch_{machine}/80/", "/"),
        (f"/proxy/{machine}/80//a%2Fb", "//a%2Fb"),
        ("/proxy/web/80/x", "/x"),
    ):
        assert rig.plane.exposure.find("127.0.0.1:7071", path) == (there, rest), path
    assert rig.plane.exposure.find(f"{machine}-80.hutch.localhost", "/proxy/web/80/") == (there, "/proxy/web/80/")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("example.org", "/"),
        ("", ""),
        ("hutch.localhost", "/"),
        ("web.hutch.localhost", "/"),
        (f"{'b' * 20}.hutch.localhost", "/"),
        ("a.web-80.hutch.localhost", "/"),
        ("web-80.hutch.localhost.evil.example", "/"),
        ("web-081.hutch.localhost", "/"),
        ("web-70000.hutch.localhost", "/"),
        ("web-81.hutch.localhost", "/"),  # not published: whoever asks by a name learns nothing
        ("nothere-80.hutch.localhost", "/"),
        ("x", "/proxy/web/81/"),
        ("x", "/proxy/web/0/"),
        ("x", "/proxy/web/80x/"),
        ("x", "/proxy//80/"),
        ("x", "/proxy/web"),
        ("[::1]:7071", "/proxyweb/80/"),
    ],
)
async def test_anything_else_leads_nowhere(rig: Rig, host: str, path: str) -> None:
    await rig.create(name="web", ports=PUBLIC)
    assert rig.plane.exposure.find(host, path) is None


async def test_a_machine_that_publishes_nothing_has_no_host(rig: Rig) -> None:
    machine = await rig.create()
    assert rig.plane.exposure.find(f"{machine}.hutch.localhost", "/") is None


async def test_a_name_that_two_machines_have_leads_nowhere(rig: Rig) -> None:
    machine = await rig.create(name="web", ports=PUBLIC)
    other = await rig.someone(tenant="other")
    entry = rig.plane.core.fleet.records.get(machine)
    assert entry is not None
    await rig.plane.core.fleet.records.add(
        dataclasses.replace(entry.machine, id=MachineId("b" * 20), tenant=other.tenant), "made"
    )
    assert rig.plane.exposure.find("web-80.hutch.localhost", "/") is None
    assert rig.plane.exposure.find(f"{machine}-80.hutch.localhost", "/") is not None


async def test_a_host_that_could_mean_two_machines_leads_nowhere(rig: Rig) -> None:
    await rig.create(name="90-web", ports=PUBLIC)
    assert rig.plane.exposure.find("90-web-80.hutch.localhost", "/") is not None
    await rig.create(name="web-80", ports=(PublishedPort(90),))
    assert rig.plane.exposure.find("90-web-80.hutch.localhost", "/") is None


@pytest.mark.parametrize(
    ("proxy", "url"),
    [
        (settings.Proxy(), "http://m-80.hutch.localhost:7071"),
        (settings.Proxy(listen="0.0.0.0:80", domain="a.example"), "http://m-80.a.example"),
        (settings.Proxy(domain="a.example", url="https://a.example"), "https://m-80.a.example"),
        (settings.Proxy(domain="a.example", url="https://a.example:8443"), "https://m-80.a.example:8443"),
        (settings.Proxy(listen="[::1]:443"), "http://m-80.hutch.localhost:443"),
    ],
)
def test_an_address_is_told_as_clients_see_it(proxy: settings.Proxy, url: str) -> None:
    assert addresses.make_url(proxy, MachineId("m"), 80) == url
    assert addresses.make_host(proxy, MachineId("m")) == url.partition("//")[2].replace("m-80", "m")
