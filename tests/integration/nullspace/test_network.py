"""What a machine may reach, and how its ports are reached."""

import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import live
from hutch.api.nullspace import previews
from hutch.api.nullspace.refs import MACHINE

from .conftest import Machine, create, refused, told


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a web server. On the simulated host the ports of machines are this box's own."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("content-length", "4")
            self.end_headers()
            self.wfile.write(b"page")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def network(http: httpx.Client, machine: str) -> dict[str, Any]:
    """What the native API says of the same machine."""
    found: dict[str, Any] = http.get(f"/smol/v1/machines/mach-{machine.removeprefix(MACHINE)}").json()["network"]
    return found


def set_egress(machine: Machine, **egress: Any) -> httpx.Response:
    return machine.http.patch(f"{machine.path}/egress", json={"egress": egress})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"mode": "allow_all"}, {"mode": "allow_all"}),
        ({"mode": "deny_all", "allow_cidrs": [], "deny_cidrs": None, "rate_limit": None}, {"mode": "deny_all"}),
        *(
            (it, it)
            for it in (
                {"mode": "custom", "allow_cidrs": ["1.1.1.0/24"]},
                {"mode": "custom", "deny_cidrs": ["9.9.9.9/32"]},
                {"mode": "custom", "allow_cidrs": ["1.1.1.0/24"], "deny_cidrs": ["1.1.1.1/32"]},
                {"mode": "allow_all", "rate_limit": {"kbit_per_sec": 1000}},
                {"mode": "allow_all", "rate_limit": {"pps": 100, "burst": 10}},
            )
        ),
    ],
)
def test_what_a_machine_may_reach_is_changed(machine: Machine, given: dict[str, Any], shown: dict[str, Any]) -> None:
    answer = set_egress(machine, **given)
    assert answer.status_code == 200, answer.text
    assert previews.MachineEgress.model_validate_json(answer.content)
    assert answer.json() == {"machine_id": machine.id, "egress": shown}


@pytest.mark.parametrize(
    "egress",
    [
        *({"mode": mode} for mode in ("custom", "open", None)),
        {"mode": "deny_all", "allow_cidrs": ["1.1.1.1/32"]},
        *({"mode": "custom", "allow_cidrs": [it]} for it in ("example.org", "1.1.1.1/33", "")),
        {"mode": "custom", "deny_cidrs": ["x"]},
        {"mode": "allow_all", "rate_limit": {"pps": 0}},
        {"mode": "allow_all", "rate_limit": {"kbit_per_sec": -1}},
        {"mode": "allow_all", "rate_limit": {"burst": 5}},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(machine: Machine, egress: dict[str, Any]) -> None:
    refused(set_egress(machine, **egress), 400, "invalid_request")
    refused(create(machine.http, network={"egress": egress}), 400, "invalid_request")


@pytest.mark.parametrize(
    ("fields", "mode", "hosts"),
    [
        ({}, "open", None),
        ({"internet_access": False}, "blocked", None),
        ({"internet_access": False, "network": {"egress": {"mode": "allow_all"}}}, "blocked", None),
        ({"network": {"egress": {"mode": "deny_all"}}}, "blocked", None),
        ({"network": {"egress": {"mode": "custom", "deny_cidrs": ["9.9.9.9/32"]}}}, "open", None),
        ({"network": {"allow_out": ["1.1.1.1", "example.org"]}}, "allowCidrs", ["example.org"]),
        ({"network": {"allow_out": ["1.1.1.1"], "deny_out": ["0.0.0.0/0"]}}, "allowCidrs", None),
        ({"network": {"deny_out": ["0.0.0.0/0"]}}, "blocked", None),
        ({"network": {"deny_out": ["9.9.9.9"]}}, "open", None),
    ],
)
def test_what_a_new_machine_may_reach(
    http: httpx.Client, fields: dict[str, Any], mode: str, hosts: list[str] | None
) -> None:
    made = told(create(http, **fields), 201)["id"]
    shown = network(http, made)
    assert (shown["mode"], shown.get("hosts") or None) == (mode, hosts)
    http.delete(f"/v1/machines/{made}")


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, "blocked"),
        ({"network": {"allow_public_traffic": True}}, "blocked"),
        ({"network": {"egress": {"mode": "allow_all"}}}, "open"),
    ],
)
def test_what_is_made_of_a_snapshot_may_reach_what_its_machine_might(
    http: httpx.Client, fields: dict[str, Any], mode: str
) -> None:
    source = told(create(http, internet_access=False), 201)["id"]
    kept = http.post(f"/v1/machines/{source}/snapshots").json()["id"]
    for of in ("snapshot_id", "template"):
        body = {of: kept, "internet_access": True, **fields}  # which the published client says of any template
        made = told(http.post("/v1/machines", json=body), 201)["id"]
        assert network(http, made)["mode"] == mode
        http.delete(f"/v1/machines/{made}")
    http.delete(f"/v1/machines/{source}")
    http.delete(f"/v1/snapshots/{kept}")


def test_egress_and_its_older_spelling_are_not_mixed(http: httpx.Client) -> None:
    mixed = {"egress": {"mode": "deny_all"}, "allow_out": ["1.1.1.1"]}
    assert "egress" in refused(create(http, network=mixed), 400, "invalid_request")


def test_a_port_is_reached_by_its_host(machine: Machine) -> None:
    answer = machine.post("host", {"port": 8080})
    shown = previews.Host.model_validate_json(answer.content)
    url = urlsplit(shown.url)
    assert url.hostname == f"{machine.id.removeprefix(MACHINE)}-8080.hutch.localhost"
    assert (shown.host, shown.websocket_url) == (url.netloc, f"ws://{url.netloc}")
    assert "access_token_transport" not in answer.json()


@pytest.mark.parametrize("port", [0, 22, 5900, 5999, 65536, 2**53])
def test_some_ports_are_not_seen_from_outside(machine: Machine, port: int) -> None:
    refused(machine.post("host", {"port": port}), 400, "invalid_request")
    refused(machine.http.get(f"{machine.path}/ports/{port}/preview-url"), 400, "invalid_request")


@pytest.mark.parametrize("port", ["x", "-1", "8.0", "08080", "٨"])
def test_a_port_is_a_number(machine: Machine, port: str) -> None:
    expected = 200 if port == "08080" else 400
    assert machine.post(f"ports/{port}/readiness", {"timeout_secs": 0}).status_code == expected


def test_a_machine_without_public_traffic_has_a_token(http: httpx.Client) -> None:
    made = told(create(http, network={"allow_public_traffic": False}), 201)
    path, token = f"/v1/machines/{made['id']}", made["traffic_access_token"]
    assert "traffic_access_token" not in http.get(path).json()
    assert http.get(f"{path}?fields=traffic_access_token").json() == {"traffic_access_token": token}
    listed = http.get("/v1/machines?fields=id,traffic_access_token").json()["items"]
    assert {"id": made["id"], "traffic_access_token": token} in listed
    shown = http.post(f"{path}/host", json={"port": 8080}).json()
    assert shown["access_token_transport"] == "query"
    assert "hutch_token=" in shown["url"]
    assert "hutch_token=" not in shown["host"]
    http.delete(path)


def test_a_public_machine_has_none(machine: Machine) -> None:
    assert machine.http.get(f"{machine.path}?fields=id,traffic_access_token").json() == {"id": machine.id}


def test_preview_urls_are_listed_and_revoked(machine: Machine) -> None:
    one = previews.PreviewUrl.model_validate_json(machine.http.get(f"{machine.path}/ports/81/preview-url").content)
    other = machine.post("ports/82/signed-preview-url", {"expires_in_seconds": 60}).json()
    left = datetime.fromisoformat(other["access_token_expires_at"]) - datetime.now(UTC)
    assert 0 < left.total_seconds() <= 60
    assert (one.grant.status, one.grant.port, one.grant.auth_mode) == ("active", 81, "direct")
    assert one.websocket_url == f"ws{one.url.removeprefix('http')}"
    items = machine.http.get(f"{machine.path}/preview-urls").json()["items"]
    assert [it["id"] for it in items] == [one.grant.id, other["grant"]["id"]]
    assert [it["port"] for it in machine.http.get(f"{machine.path}/preview-urls?port=82").json()["items"]] == [82]
    gone = machine.http.delete(f"{machine.path}/preview-urls/{one.grant.id}")
    assert previews.RevokedGrant.model_validate_json(gone.content).grant.status == "revoked"
    statuses = [it["status"] for it in machine.http.get(f"{machine.path}/preview-urls").json()["items"]]
    assert statuses == ["revoked", "active"]
    refused(machine.http.delete(f"{machine.path}/preview-urls/none"), 404, "not_found")
    refused(machine.http.delete("/v1/machines/mch_none/preview-urls/none"), 404, "machine_not_found")


@pytest.mark.parametrize("seconds", [0, 2**40])
def test_a_link_that_is_too_short_or_too_long_is_refused(machine: Machine, seconds: int) -> None:
    refused(machine.post("ports/80/signed-preview-url", {"expires_in_seconds": seconds}), 400, "invalid_request")
    assert machine.http.get(f"{machine.path}/preview-urls").json() == {"items": []}


def test_a_proxy_of_ones_own_gets_a_token_for_its_header(machine: Machine) -> None:
    answer = machine.post("ports/80/preview-proxy-target", {"transports": ["http"], "expires_in_seconds": 60})
    target = previews.PreviewProxyTarget.model_validate_json(answer.content)
    assert (target.token_header_name, target.websocket_url, target.websocket_token) == (
        *("x-nullspace-preview-proxy-token", None),
        None,
    )
    assert target.http_token
    assert target.http_token not in str(target.http_url)
    assert (target.grant.auth_mode, target.grant.bootstrap_transport) == ("proxy", "header")
    refused(machine.post("ports/80/preview-proxy-target", {"transports": []}), 400, "invalid_request")
    refused(machine.post("ports/80/preview-proxy-target", {"token_transport": "query"}), 400, "invalid_request")


def readiness(machine: Machine, port: int, **body: Any) -> dict[str, Any]:
    answer = machine.post(f"ports/{port}/readiness", {"timeout_secs": 0, **body})
    assert answer.status_code == 200, answer.text
    previews.PreviewReadiness.model_validate_json(answer.content)
    found: dict[str, Any] = answer.json()
    return found


def test_a_port_is_ready_when_something_answers_there(machine: Machine, port: int) -> None:
    for body in ({}, {"kind": "http"}, {"kind": "http", "path": "/x"}):
        found = readiness(machine, port, **body)
        assert (found["ready"], found["route_ready"], found["service_ready"], found["error"]) == (
            True,
            True,
            True,
            None,
        )
    broken = readiness(machine, port, kind="http", path="/broken")
    assert (broken["ready"], broken["code"]) == (False, "service_not_ready")
    assert "500" in broken["error"]


def test_a_port_where_nothing_listens_and_one_of_a_machine_that_sleeps(machine: Machine, port: int) -> None:
    found = readiness(machine, 1, timeout_secs=1, interval_ms=100)
    assert (found["ready"], found["route_ready"], found["code"]) == (False, True, "service_not_ready")
    assert found["attempts"] > 1
    machine.post("hibernate")
    asleep = readiness(machine, port, timeout_secs=30)
    assert (asleep["ready"], asleep["route_ready"], asleep["code"]) == (False, False, "machine_not_ready")
    assert machine.look()["status"] == "paused"


def test_a_look_that_makes_no_sense_is_refused(machine: Machine) -> None:
    for body in ({"kind": "udp"}, {"kind": "tcp", "path": "/x"}, {"kind": "http", "path": "x"}, {"timeout_secs": 1000}):
        refused(machine.post("ports/80/readiness", body), 400, "invalid_request")


def test_a_copy_is_as_private_as_its_source(http: httpx.Client) -> None:
    made = told(create(http, network={"allow_public_traffic": False}), 201)["id"]
    child = told(http.post(f"/v1/machines/{made}/fork"), 201)["id"]
    shown = http.post(f"/v1/machines/{child}/host", json={"port": 8080}).json()
    assert shown["access_token_transport"] == "query"
    for it in (made, child):
        http.delete(f"/v1/machines/{it}")


def visit(service: live.Live, url: str, **headers: str) -> httpx.Response:
    """A port's URL, asked of the proxy: its name leads here wherever this runs."""
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}"
    return httpx.get(service.proxy + path, headers={"host": parts.netloc, **headers}, trust_env=False, timeout=30)


def test_a_public_port_is_there_for_everybody(service: live.Live, machine: Machine, port: int) -> None:
    url = machine.post("host", {"port": port}).json()["url"]
    answer = visit(service, url)
    assert (answer.status_code, answer.text) == (200, "page")
    assert visit(service, url.replace(f"-{port}.", "-1.")).status_code == 403


def test_a_private_port_lets_in_its_token_its_links_and_nobody_else(
    service: live.Live, http: httpx.Client, port: int
) -> None:
    made = told(create(http, network={"allow_public_traffic": False}), 201)
    it = Machine(http, made["id"])
    host = it.post("host", {"port": port}).json()
    plain = f"http://{host['host']}"
    link = it.post(f"ports/{port}/signed-preview-url", {}).json()
    target = it.post(f"ports/{port}/preview-proxy-target", {}).json()
    token, header = {"x-nullspace-traffic-access-token": made["traffic_access_token"]}, target["token_header_name"]
    ways = [visit(service, host["url"]), visit(service, link["url"]), visit(service, plain, **token)]
    ways.append(visit(service, target["http_url"], **{header: target["http_token"]}))
    assert [answer.status_code for answer in ways] == [200] * 4
    assert [visit(service, plain).status_code, visit(service, plain, **{header: "x"}).status_code] == [401] * 2
    http.delete(f"{it.path}/preview-urls/{link['grant']['id']}")
    assert [visit(service, link["url"]).status_code, visit(service, host["url"]).status_code] == [401, 200]
    http.delete(it.path)


@pytest.mark.parametrize("wakes", [True, False])
def test_traffic_wakes_a_hibernated_machine_if_it_was_made_so(
    service: live.Live, http: httpx.Client, port: int, wakes: bool
) -> None:
    made = told(create(http, auto_resume=wakes, timeout_action="hibernate"), 201)["id"]
    it = Machine(http, made)
    url = it.post("host", {"port": port}).json()["url"]
    it.post("hibernate")
    answer = visit(service, url)
    if wakes:
        assert (answer.status_code, it.look()["status"]) == (200, "running")
    else:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["code"] == "machine_paused_auto_resume_disabled"
        assert it.look()["status"] == "paused"
    http.delete(it.path)
