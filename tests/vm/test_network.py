"""What a machine reaches, and what reaches it: real packets, on both kinds of network."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hutch import settings
from hutch.host.local import LocalHost
from hutch.host.network import firewall
from hutch.host.paths import Paths
from hutch.model import errors, guest, ids
from hutch.model.machine import NetworkMode, NetworkPolicy
from hutch.model.network import NetworkFacts
from machines import Launcher, Machine, launching

LIMIT = 60.0
"""Seconds that anything here may take."""

BLOCKED = NetworkPolicy(NetworkMode.BLOCKED)
WORLD = "93.184.216.34"
"""A public address, which in these tests is in a namespace beside this host."""


@contextlib.asynccontextmanager
async def on(mode: str, wanted: settings.Settings, tools: str, home: Path) -> AsyncIterator[Launcher]:
    """Machines of a host in this mode."""
    host = LocalHost(replace(wanted, network=replace(wanted.network, mode=mode)), Paths(home))
    async with launching(host, tools, home) as launcher:
        await host.open()
        yield launcher
        await launcher.destroy_all()
        await host.close()


@pytest.fixture
async def users(wanted: settings.Settings, tools: str, home: Path) -> AsyncIterator[Launcher]:
    """Machines on QEMU's user network."""
    async with on("user", wanted, tools, home) as launcher:
        yield launcher


@pytest.fixture(params=["slots", "user"])
async def either(
    request: pytest.FixtureRequest, wanted: settings.Settings, tools: str, home: Path
) -> AsyncIterator[Launcher]:
    """Machines on either network, one after the other."""
    async with on(request.param, wanted, tools, home) as launcher:
        yield launcher


@pytest.fixture
def world() -> Iterator[str]:
    """A server that tells each client its address, at a public address in a namespace beside this host."""
    name, link = "hutch-test-world", "hwtest0"
    inside = f"ip netns exec {name}"
    script = f"""
        ip netns add {name}
        ip link add {link} type veth peer name eth0 netns {name}
        ip addr add 93.184.216.1/24 dev {link}; ip link set {link} up
        {inside} ip addr add {WORLD}/24 dev eth0; {inside} ip link set eth0 up; {inside} ip link set lo up
    """
    subprocess.run(["sh", "-ec", script], check=True)
    words = f"{inside} busybox nc -ll -p 80 -e sh -c".split()
    server = subprocess.Popen([*words, "echo world; read -t 9 x"], stdin=subprocess.DEVNULL)
    try:
        yield WORLD
    finally:
        server.kill()
        server.wait()
        subprocess.run(["ip", "link", "del", link], check=True)
        subprocess.run(["ip", "netns", "del", name], check=True)


async def serve(machine: Machine, *command: str, port: int = 8080) -> int:
    """A server in the guest, one that echoes unless told otherwise; its port."""
    spec = guest.ProcessSpec(command or ("busybox", "nc", "-ll", "-p", str(port), "-e", "cat"))
    await machine.host.processes.start(machine.id, f"server-{ids.random_id()}", spec)
    await machine.run(f"until netstat -ltn | grep -q ':{port} '; do sleep 0.1; done", timeout=LIMIT)
    return port


async def echo(machine: Machine, port: int, text: bytes = b"hello\n") -> bytes:
    """What the guest's server says to this service. `OSError` if it cannot be reached."""
    endpoint = await machine.host.networks.endpoint(machine.id, port)
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        try:
            writer.write(text)
            return await reader.readexactly(len(text))
        finally:
            writer.close()


async def says(machine: Machine, address: str, port: int) -> str:
    """What a server says to a guest that connects; empty if it does not."""
    line = f"sleep 2 | busybox nc -w 3 {address} {port} | head -1"
    return (await machine.run(line, check=False, timeout=LIMIT)).text


async def facts(machine: Machine) -> NetworkFacts:
    found = machine.host.networks.facts(machine.id)
    assert found is not None
    return found


@contextlib.contextmanager
def listening(address: str) -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server((address, 0)) as server:
        server.settimeout(0.2)
        yield server, server.getsockname()[1]


def is_called(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except TimeoutError:
        return False
    return True


async def test_a_machine_does_not_reach_this_host(either: Launcher) -> None:
    machine = await either.launch()
    mine = (await facts(machine)).outside_address
    host_side = str(int(mine.rpartition(".")[2]) - 1) if mine else ""
    beside = [f"{mine.rpartition('.')[0]}.{host_side}"] if mine else []
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    with listening("0.0.0.0") as (server, port):
        for address in ("10.0.2.2", "10.0.2.3", "127.0.0.1", *beside, *map(str, own)):
            await machine.run(f"echo hello | nc -w 2 {address} {port}", check=False, timeout=LIMIT)
            assert not is_called(server), address


async def test_rules_that_somebody_removes_with_all_others_are_put_back(either: Launcher, home: Path) -> None:
    def loaded() -> set[str]:
        told = subprocess.run(["nft", "list", "tables", "inet"], capture_output=True, text=True, check=True).stdout
        return {line.removeprefix("table inet ") for line in told.splitlines() if Paths(home).tag in line}

    before = loaded()
    for name in before:
        subprocess.run(["nft", "delete", "table", "inet", name], check=True)
    await either.host._stay_protected()  # type: ignore[attr-defined]
    assert loaded() == before != set()


async def test_a_service_that_fails_to_start_leaves_machines_behind_their_rules(
    wanted: settings.Settings, tools: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise errors.Unsupported("no kernel")

    user = replace(wanted, network=replace(wanted.network, mode="user"))
    first, failing, last = (LocalHost(user, Paths(home)) for _ in range(3))
    async with launching(first, tools, home) as launcher:
        await first.open()
        await launcher.launch()
        await first.close()
        monkeypatch.setattr(failing, "_make_context", fail)
        with pytest.raises(errors.Unsupported, match="no kernel"):
            await failing.open()
        await failing.close()
        assert await firewall.is_loaded(Paths(home).tag)
        launcher.host = last
        await last.open()
        await launcher.destroy_all()
        await last.close()
        assert not await firewall.is_loaded(Paths(home).tag)


async def test_a_machine_has_an_address_a_route_and_a_resolver(either: Launcher) -> None:
    machine = await either.launch()
    told = await facts(machine)
    assert ("own network namespace" in either.host.info().isolation) == (told.tap_device is not None)
    shown = (await machine.run("ip addr show eth0")).text
    assert told.guest_address in shown
    assert told.guest_mac in shown
    assert "default via 10.0.2.2" in (await machine.run("ip route")).text
    assert "nameserver 10.0.2.3" in (await machine.run("cat /etc/resolv.conf")).text


async def test_a_blocked_machine_gets_no_answer_even_from_the_resolver(either: Launcher) -> None:
    machine = await either.launch(network=BLOCKED)
    result = await machine.run("nslookup -timeout=2 localhost 10.0.2.3", check=False, timeout=LIMIT)
    assert result.exit.code != 0
    assert await echo(machine, await serve(machine)) == b"hello\n"


async def test_ports_that_listen_on_the_guests_loopback_are_not_reached(either: Launcher) -> None:
    machine = await either.launch()
    port = await serve(machine, "busybox", "httpd", "-f", "-p", "127.0.0.1:8081", port=8081)
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await echo(machine, port)


async def test_packets_that_have_no_socket_any_more_are_not_taken_for_a_machines(vms: Launcher) -> None:
    await vms.launch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            accepted.setblocking(False)
            sent = accepted.send(bytes(4 << 20))
            accepted.close()  # what is not read yet is now sent without a socket
            client.settimeout(10)
            received = 0
            while data := client.recv(1 << 20):
                received += len(data)
        assert received == sent


async def test_machines_do_not_reach_each_other(vms: Launcher) -> None:
    server, client = await vms.launch(), await vms.launch()
    port = await serve(server)
    outside = (await facts(server)).outside_address
    assert outside is not None
    assert await echo(server, port) == b"hello\n"
    for address in (outside, str(outside).rpartition(".")[0] + f".{int(outside.rpartition('.')[2]) - 1}"):
        result = await client.run(f"echo hello | nc -w 2 {address} {port}", check=False, timeout=LIMIT)
        assert (result.exit.code, result.text) == (1, "")


async def test_other_users_of_the_box_do_not_reach_a_machine(vms: Launcher) -> None:
    machine = await vms.launch()
    endpoint = await machine.host.networks.endpoint(machine.id, await serve(machine))
    command = ["busybox", "nc", "-w", "3", endpoint.host, str(endpoint.port)]
    for user, answer in (("0", "hello\n"), ("65534", "")):
        words = ["setpriv", "--reuid", user, "--clear-groups", "timeout", "5", *command]
        result = await asyncio.to_thread(subprocess.run, words, input="hello\n", capture_output=True, text=True)
        assert result.stdout == answer, result


async def test_a_guest_that_takes_another_address_is_not_heard(vms: Launcher) -> None:
    machine = await vms.launch()
    ping = "ping -c 1 -W 2 10.0.2.2"
    await machine.run(ping, timeout=LIMIT)
    await machine.run("ip addr add 10.0.2.16/24 dev eth0")
    forged = await machine.run(f"{ping} -I 10.0.2.16", check=False, timeout=LIMIT)
    assert forged.exit.code != 0


async def test_facts_are_those_of_the_namespace_the_machine_is_in(vms: Launcher) -> None:
    machine = await vms.launch()
    told = await facts(machine)
    (space,) = (
        line.split()[0]
        for line in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.splitlines()
        if line.startswith(Paths(vms.host._paths.home).tag)  # type: ignore[attr-defined]
    )
    words = ["ip", "netns", "exec", space, "ip", "-br", "addr"]
    links = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (tap,) = (line for line in links.splitlines() if line.startswith(f"{told.tap_device} "))
    assert f"{told.tap_address}/24" in tap
    assert f"{told.outside_address}/31" in links


async def test_what_a_machine_sends_and_receives_is_counted(vms: Launcher) -> None:
    machine = await vms.launch()
    port = await serve(machine)
    before = await machine.host.networks.traffic(machine.id)
    assert await echo(machine, port, bytes(100_000)) == bytes(100_000)
    after = await machine.host.networks.traffic(machine.id)
    for was, now in ((before.received, after.received), (before.sent, after.sent)):
        assert 100_000 < now - was < 200_000
    await machine.host.stop(machine.id, 0)
    assert (await machine.host.networks.traffic(machine.id)).sent == 0


async def test_a_machine_reaches_the_world_as_this_host(vms: Launcher, world: str) -> None:
    machine = await vms.launch()
    assert await says(machine, world, 80) == "world"


async def test_a_policy_holds_in_whatever_comes_of_the_machine(vms: Launcher, world: str) -> None:
    machine = await vms.launch()
    assert await says(machine, world, 80) == "world"  # and so it knows its gateway's hardware address
    await vms.host.networks.set_policy(machine.id, BLOCKED)
    assert await says(machine, world, 80) == ""
    await vms.host.suspend(machine.id)
    await vms.host.start(machine.id)
    assert await says(machine, world, 80) == ""
    snapshot = ids.new_snapshot_id()
    await vms.host.snapshot(machine.id, snapshot)
    for policy, answer in ((BLOCKED, ""), (NetworkPolicy(), "world")):
        copy = await vms.launch(snapshot=snapshot, network=policy)
        assert await says(copy, world, 80) == answer
    await vms.host.networks.set_policy(machine.id, NetworkPolicy(NetworkMode.ALLOW, cidrs=(f"{world}/32",)))
    assert await says(machine, world, 80) == "world"


async def test_copies_of_a_machine_are_reached_each_in_its_own_network(vms: Launcher) -> None:
    source = await vms.launch()
    port = await serve(source)
    assert await echo(source, port) == b"hello\n"
    snapshot = ids.new_snapshot_id()
    await vms.host.snapshot(source.id, snapshot, transient=True)
    family = [source, *[await vms.launch(snapshot=snapshot) for _ in range(3)]]
    await vms.host.remove_snapshot(snapshot)
    assert len({(await facts(machine)).outside_address for machine in family}) == 4
    for machine in family:
        text = machine.id.encode()
        assert await echo(machine, port, text) == text


async def test_a_machine_that_is_claimed_keeps_its_network(vms: Launcher) -> None:
    spare = await vms.launch()
    port = await serve(spare)
    assert await echo(spare, port) == b"hello\n"
    machine = await vms.create()
    await vms.host.claim(machine.id, spare.id)
    assert await echo(machine, port) == b"hello\n"
    await vms.host.stop(machine.id, 0)
    await vms.host.start(machine.id)
    assert await echo(machine, await serve(machine)) == b"hello\n"


@pytest.mark.parametrize(
    "policy",
    [
        NetworkPolicy(NetworkMode.ALLOW, cidrs=("1.2.3.0/24",)),
        NetworkPolicy(denied=("1.2.3.0/24",)),
        NetworkPolicy(kbit_per_second=100),
        NetworkPolicy(packets_per_second=100),
    ],
    ids=lambda policy: str(policy.mode),
)
async def test_the_user_network_refuses_what_it_cannot_enforce(users: Launcher, policy: NetworkPolicy) -> None:
    with pytest.raises(errors.Unsupported, match="needs network slots"):
        await users.launch(network=policy)
    machine = await users.create()
    with pytest.raises(errors.Unsupported, match="needs network slots"):
        await users.host.networks.set_policy(machine.id, policy)


async def test_on_the_user_network_a_machine_is_blocked_from_its_next_start_on(users: Launcher) -> None:
    machine = await users.launch()
    with pytest.raises(errors.Unsupported, match="next start"):
        await users.host.networks.set_policy(machine.id, BLOCKED)
    await users.host.stop(machine.id, 0)
    await users.host.networks.set_policy(machine.id, BLOCKED)
    await users.host.start(machine.id)
    assert await echo(machine, await serve(machine)) == b"hello\n"
    with pytest.raises(errors.Unsupported, match="not counted"):
        await users.host.networks.traffic(machine.id)


either_way = pytest.mark.parametrize("modes", [("user", "slots"), ("slots", "user")], ids="-".join)


@either_way
@pytest.mark.parametrize("is_suspended", [True, False])
async def test_a_machine_goes_on_when_its_host_gets_another_kind_of_network(
    wanted: settings.Settings, tools: str, home: Path, modes: tuple[str, str], is_suspended: bool
) -> None:
    hosts = [LocalHost(replace(wanted, network=replace(wanted.network, mode=mode)), Paths(home)) for mode in modes]
    async with launching(hosts[0], tools, home) as launcher:
        await hosts[0].open()
        machine = await launcher.launch()
        port = await serve(machine)
        if is_suspended:
            await hosts[0].suspend(machine.id)
        await hosts[0].close()
        machine.host = launcher.host = hosts[1]
        await hosts[1].open()
        await hosts[1].start(machine.id)
        assert await echo(machine, port) == b"hello\n"
        has_slot = (await facts(machine)).tap_device is not None
        assert has_slot == ((modes[1] if is_suspended else modes[0]) == "slots")
        await launcher.destroy_all()
        await hosts[1].close()
