"""The real smolmachines client (PyPI), unmodified: ports, publish, url, share, port_links."""

import contextlib
import socket
import uuid
from collections.abc import Iterator
from typing import Protocol

import pytest
from smol import ConnectOptions, ExecOptions, Machine, MachineConfig, PortSpec, ResourceSpec, SmolError


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@pytest.fixture
def cloud(service: Service, monkeypatch: pytest.MonkeyPatch) -> ConnectOptions:
    monkeypatch.setenv("NO_PROXY", "*")
    return ConnectOptions(target="cloud", base_url=service.url, api_key=service.key)


def config(**fields: object) -> MachineConfig:
    wanted = {"name": f"smol-{uuid.uuid4().hex[:8]}", "image": "debian", "network": True}
    return MachineConfig(**(wanted | {"resources": ResourceSpec(cpus=1, memory_mb=256)} | fields))  # type: ignore[arg-type]


@pytest.fixture
def free() -> int:
    """A port that nothing has, on this box too: a simulated guest's ports are the box's own."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def machine(cloud: ConnectOptions) -> Iterator[Machine]:
    """A machine that runs."""
    made = Machine.create(config(), cloud)
    yield made
    with contextlib.suppress(SmolError):
        made.delete()


def test_a_port_is_published_on_a_running_machine_and_taken_back(machine: Machine) -> None:
    assert (machine.ports(), machine.url()) == ([], None)
    for port in (8080, 8081):
        now = machine.publish(port)
        assert (now.guest, now.host, now.protocol) == (port, 0, "tcp")
    assert [it.guest for it in machine.ports()] == [8080, 8081]
    url = machine.url()
    assert url is not None
    assert "-8080." in url
    machine.unpublish(guest=8080)
    assert [it.guest for it in machine.ports()] == [8081]
    machine.unpublish(guest=8081)
    assert machine.ports() == []


def test_a_machine_made_with_a_port_is_ready_when_its_server_is(cloud: ConnectOptions, free: int) -> None:
    serve = ["python3", "-m", "http.server", str(free)]
    made = Machine.create(config(ports=[PortSpec(host=0, guest=free)], command=serve), cloud)
    try:
        assert made.ready()
        assert [it.guest for it in made.ports()] == [free]
        (listed,) = [it for it in Machine.list(cloud) if it.id == made.id]
        assert [it.guest for it in listed.ports or []] == [free]
    finally:
        made.delete()


def test_a_machine_whose_server_comes_later_is_not_ready_until_then(machine: Machine, free: int) -> None:
    machine.publish(free)
    assert not machine.ready()
    machine.exec(["python3", "-m", "http.server", str(free)], ExecOptions(background=True))
    machine.wait_until_ready(60, 0.1)
    assert machine.ready_at()


def test_a_share_link_is_minted_anew_and_revoked(machine: Machine) -> None:
    machine.publish(8080)
    first, second = machine.share(), machine.share()
    assert first.url is not None
    assert first.token in first.url
    assert first.token != second.token
    links = machine.port_links()
    machine.unshare()
    assert machine.port_links() == links


def test_port_links_are_the_same_until_revoked(machine: Machine) -> None:
    machine.publish(8080)
    machine.publish(8081)
    links = machine.port_links()
    assert set(links) == {8080, 8081}
    assert machine.port_links() == links
    machine.revoke_port_links()
    assert not set(machine.port_links().values()) & set(links.values())


def test_a_branch_has_the_ports_of_its_source_or_its_own(machine: Machine, free: int) -> None:
    machine.exec(["python3", "-m", "http.server", str(free)], ExecOptions(background=True))
    machine.publish(free)
    with contextlib.ExitStack() as children:
        for ports in (None, [PortSpec(host=8080, guest=free)]):
            child = machine.fork(f"smol-{uuid.uuid4().hex[:8]}", ports=ports)
            children.callback(child.delete)
            assert [it.guest for it in child.ports()] == [free]


def test_ports_that_make_no_sense_are_refused(machine: Machine) -> None:
    for port in (0, 65536):
        with pytest.raises(SmolError, match=f"{port} is not a port") as caught:
            machine.publish(port)
        assert caught.value.status == 400
    with pytest.raises(SmolError, match="no port of this machine is published"):
        machine.share()
