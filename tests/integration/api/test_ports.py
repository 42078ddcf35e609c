"""Published ports, the ways in to them, and what a machine may reach, over HTTP."""

import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import live

from .conftest import Machine, create, told

EXTRA = {"denied": ["192.0.2.0/24"], "kbitPerSecond": 1000, "packetsPerSecond": 100, "burst": 10}


def shown(port: int, public: bool = False) -> dict[str, Any]:
    return {"port": port, "hostPort": None, "protocol": "tcp", "public": public}


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that something listens on: those of the simulated host's guests are this box's own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> int:
    """One that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_ports_are_published_at_create_and_told_in_their_order_with_the_url_of_the_first(http: httpx.Client) -> None:
    made = told(create(http, ports=[{"port": 81}, {"port": 80, "hostPort": 8080, "public": True}]), 201)
    assert made["ports"] == [shown(81), shown(80, public=True)]
    assert re.fullmatch(rf"http://{made['id'].removeprefix('mach-')}-81\.hutch\.localhost:\d+", made["url"])
    assert (made["wakesOnTraffic"], made["startsOnTraffic"]) == (True, False)
    http.delete(f"/v1/machines/{made['id']}")


def test_exactly_the_ports_that_are_put_are_published(machine: Machine) -> None:
    assert (machine.look()["ports"], machine.look()["url"]) == ([], None)
    for ports in ([80, 8080], [8080], []):
        answer = machine.http.put(f"{machine.path}/ports", json={"ports": [{"port": port} for port in ports]})
        assert told(answer)["ports"] == [shown(port) for port in ports]
    assert machine.look()["ports"] == []


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 422, "missing field `ports`"),
        ({"ports": None}, 422, "ports"),
        ({"ports": [80]}, 422, "ports"),
        ({"ports": [{"port": "80"}]}, 422, "port"),
        ({"ports": [{"port": 80, "protocol": "sctp"}]}, 422, "protocol"),
        ({"ports": [{"port": 80, "public": "yes"}]}, 422, "public"),
        ({"ports": [{"port": 0}]}, 400, "ports: 0 is not a port"),
        ({"ports": [{"port": 65536}]}, 400, "ports: 65536 is not a port"),
        ({"ports": [{"port": 80}, {"port": 80}]}, 400, "ports: 80 is given twice"),
        ({"ports": [{"port": port} for port in range(1, 18)]}, 400, "ports: 17 given, at most 16"),
        ({"ports": [{"port": 53, "protocol": "udp"}]}, 501, "ports: 53/udp"),
    ],
)
def test_ports_that_make_no_sense_change_nothing(machine: Machine, body: object, status: int, named: str) -> None:
    machine.http.put(f"{machine.path}/ports", json={"ports": [{"port": 7}]})
    answer = machine.http.put(f"{machine.path}/ports", json=body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert machine.look()["ports"] == [shown(7)]


def test_a_machine_is_ready_when_its_port_accepts(running: Machine, listening: int, silent: int) -> None:
    running.http.put(f"{running.path}/ports", json={"ports": [{"port": listening}]})
    assert running.look()["ready"]
    running.http.put(f"{running.path}/ports", json={"ports": [{"port": listening}, {"port": silent}]})
    seen = running.look()
    assert (seen["ready"], seen["readyAt"], seen["state"]) == (False, None, "started")
    listed = next(it for it in running.http.get("/v1/machines").json() if it["id"] == running.id)
    assert not listed["ready"]
    with socket.create_server(("127.0.0.1", silent)):
        assert running.look()["ready"]
    assert running.look()["ready"], "what has accepted is not asked again"
    running.post("pause")
    assert not told(running.http.get(running.path))["ready"]


def test_a_machine_is_shared_by_one_link_at_a_time(machine: Machine) -> None:
    assert machine.post("share").status_code == 409
    machine.http.put(f"{machine.path}/ports", json={"ports": [{"port": 80}, {"port": 81}]})
    first, second = machine.post("share").json(), machine.post("share").json()
    assert first["url"] == f"{machine.look()['url']}/?hutch_token={first['token']}"
    assert first["token"] != second["token"]
    links = machine.post("port-links").json()
    assert machine.http.delete(f"{machine.path}/share").status_code == 204
    assert machine.post("port-links").json() == links


def test_each_port_has_a_link_until_it_is_revoked(machine: Machine) -> None:
    assert machine.post("port-links").json() == {"urls": {}}
    machine.http.put(f"{machine.path}/ports", json={"ports": [{"port": 80}, {"port": 81}]})
    links, token = machine.post("port-links").json()["urls"], machine.post("traffic-token").json()["token"]
    assert set(links) == {"80", "81"}
    assert machine.post("port-links").json()["urls"] == links
    assert machine.http.delete(f"{machine.path}/port-links").status_code == 204
    assert machine.post("port-links").json()["urls"] != links
    assert machine.post("traffic-token").json()["token"] != token


def test_a_link_may_end(machine: Machine) -> None:
    machine.http.put(f"{machine.path}/ports", json={"ports": [{"port": 80}]})
    link = machine.post("links", {"port": 80, "ttlSeconds": 60}).json()
    assert link["url"].endswith(f"/?hutch_token={link['token']}")
    assert link["expiresAt"] is not None
    assert machine.post("links", {"port": 80}).json()["expiresAt"] is None
    for body, status in (
        ({"port": 81}, 404),
        ({"port": 80, "ttlSeconds": 0}, 400),
        ({"port": 80, "ttlSeconds": 2**32 - 1}, 400),
        ({"ttlSeconds": 1}, 422),
    ):
        assert machine.post("links", body).status_code == status, body


def test_no_token_is_in_the_log(machine: Machine, service: live.Live) -> None:
    machine.http.put(f"{machine.path}/ports", json={"ports": [{"port": 80}]})
    tokens = [
        machine.post("share").json()["token"],
        machine.post("traffic-token").json()["token"],
        machine.post("links", {"port": 80}).json()["token"],
    ]
    log = service.log.read_text()
    assert machine.id in log
    assert not [token for token in tokens if token in log]


def test_a_branch_has_the_ports_of_its_source_or_its_own(running: Machine, listening: int) -> None:
    running.http.put(f"{running.path}/ports", json={"ports": [{"port": listening}]})
    same = told(running.post("branches", {"ports": []}), 201)
    other = told(running.post("branches", {"ports": [{"port": 81, "hostPort": 8081}]}), 201)
    assert (same["ports"], other["ports"]) == ([shown(listening)], [shown(81)])
    assert same["url"] != running.look()["url"]
    for child in (same, other):
        running.http.delete(f"/v1/machines/{child['id']}")


@pytest.mark.parametrize("mode", ["open", "blocked"])
def test_a_network_may_deny_and_limit(http: httpx.Client, mode: str) -> None:
    made = told(create(http, network={"mode": mode, **EXTRA}), 201)
    assert made["network"] == {"mode": mode, **EXTRA}
    http.delete(f"/v1/machines/{made['id']}")


@pytest.mark.parametrize("state", ["stopped", "started", "paused"])
def test_a_network_is_changed_in_any_state_and_kept(machine: Machine, state: str) -> None:
    if state != "stopped":
        machine.post("start")
    if state == "paused":
        machine.post("pause")
    wanted = {"mode": "allowCidrs", "cidrs": ["192.0.2.0/24"], "hosts": ["example.org", "*.example.org"], **EXTRA}
    changed = told(machine.http.put(f"{machine.path}/network", json=wanted))
    assert (changed["network"], changed["state"]) == (wanted, state)
    machine.post("stop")
    machine.post("start")
    assert machine.look()["network"] == wanted
    child = told(machine.post("branches"), 201)
    assert child["network"] == wanted
    machine.http.delete(f"/v1/machines/{child['id']}")
    events = [event["kind"] for event in machine.http.get(f"{machine.path}/events").json()]
    assert "machine.network_set" in events


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 422, "missing field `mode`"),
        ({"mode": "closed"}, 422, "unknown variant `closed`"),
        ({"mode": "allowCidrs"}, 400, "allowCidrs network mode requires at least one CIDR or host"),
        ({"mode": "allowCidrs", "cidrs": ["nonsense"]}, 400, "'nonsense' is not a CIDR"),
        ({"mode": "allowCidrs", "hosts": ["no spaces"]}, 400, "'no spaces' is not a host name"),
        ({"mode": "allowCidrs", "hosts": ["h"] * 257}, 400, "at most 256"),
        ({"mode": "open", "cidrs": ["192.0.2.0/24"]}, 400, "CIDRs and hosts are for the allow mode"),
        ({"mode": "blocked", "hosts": ["example.org"]}, 400, "CIDRs and hosts are for the allow mode"),
        ({"mode": "open", "denied": ["x"]}, 400, "'x' is not a CIDR"),
        ({"mode": "open", "denied": ["192.0.2.0/24"] * 257}, 400, "at most 256"),
        ({"mode": "open", "kbitPerSecond": 0}, 400, "kbit per second is 0"),
        ({"mode": "open", "packetsPerSecond": 100_000_001}, 400, "packets per second is 100000001"),
        ({"mode": "open", "burst": 1}, 400, "burst"),
        ({"mode": "open", "kbitPerSecond": -1}, 422, "kbitPerSecond"),
    ],
)
def test_a_network_that_makes_no_sense_changes_nothing(machine: Machine, body: object, status: int, named: str) -> None:
    answer = machine.http.put(f"{machine.path}/network", json=body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert machine.look()["network"] == {"mode": "open"}
