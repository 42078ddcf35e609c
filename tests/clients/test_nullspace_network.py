"""The real Nullspace client (PyPI), unmodified: networks and ports, by its Python SDK and its command line."""

import contextlib
import gc
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from nullspace import Machine
from nullspace.errors import MachineError
from nullspace.types import EgressRateLimit, NetworkEgressPolicy

import live

pytestmark = [  # the client's own: it leaves sockets open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cloud(simulated: live.Live, monkeypatch: pytest.MonkeyPatch) -> live.Live:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("NULLSPACE_API_URL", f"{simulated.url}/nullspace")
    monkeypatch.setenv("NULLSPACE_API_KEY", simulated.key)
    return simulated


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """What the client leaves open is collected here, where nobody minds."""
    yield
    gc.collect()


@pytest.fixture
def machine(cloud: live.Live) -> Iterator[Machine]:
    made = Machine.create(template="base", timeout=300)
    yield made
    with contextlib.suppress(MachineError):
        made.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a web server. On the simulated host the ports of machines are this box's own."""

    class Page(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
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


def visit(cloud: live.Live, url: str, **headers: str) -> int:
    parts = urlsplit(url)
    told = {"host": parts.netloc, **headers}
    return httpx.get(f"{cloud.proxy}/?{parts.query}", headers=told, trust_env=False, timeout=30).status_code


def test_what_a_machine_may_reach_is_said_at_its_creation_and_changed(cloud: live.Live) -> None:
    policy = NetworkEgressPolicy.custom(
        allow_cidrs=["1.1.1.0/24"], deny_cidrs=["1.1.1.1/32"], rate_limit=EgressRateLimit(kbit_per_sec=1000)
    )
    made = Machine.create(network={"egress": policy.to_dict()})
    try:
        assert made.update_egress(policy) == policy
        assert made.update_egress(NetworkEgressPolicy.deny_all()) == NetworkEgressPolicy.deny_all()
        assert made.update_egress(NetworkEgressPolicy.allow_all()) == NetworkEgressPolicy.allow_all()
        with pytest.raises(MachineError, match="CIDR"):
            made.update_egress(NetworkEgressPolicy.custom(allow_cidrs=["example.org"]))
    finally:
        made.kill()


def test_a_port_is_waited_for_and_reached(cloud: live.Live, machine: Machine, port: int) -> None:
    ready = machine.wait_for_preview(port, kind="http", path="/", timeout_secs=30)
    assert (ready.ready, ready.port, ready.error) == (True, port, None)
    assert not machine.wait_for_preview(1, timeout_secs=0).service_ready
    host = machine.get_host(port)
    assert machine.get_url(port) == f"http://{host}"
    assert machine.get_websocket_url(port) == f"ws://{host}"
    assert visit(cloud, machine.get_url(port)) == 200


def test_preview_urls_are_made_listed_and_revoked(cloud: live.Live, machine: Machine, port: int) -> None:
    first, second = machine.get_preview_url(port), machine.create_signed_preview_url(port, expires_in_seconds=900)
    target = machine.create_preview_proxy_target(port, expires_in_seconds=900, transports=["http", "websocket"])
    grants = machine.list_preview_urls(port=port)
    assert [it.id for it in grants] == [it.grant.id for it in (first, second, target)]  # type: ignore[union-attr]
    revoked = machine.revoke_preview_url(second.grant.id)  # type: ignore[union-attr]
    assert (revoked.success, revoked.grant.status) == (True, "revoked")  # type: ignore[union-attr]
    assert [it.status for it in machine.list_preview_urls()] == ["active", "revoked", "active"]
    assert visit(cloud, str(target.http_url), **{target.token_header_name: str(target.http_token)}) == 200


def test_a_machine_without_public_traffic_lets_in_its_token(cloud: live.Live, port: int) -> None:
    made = Machine.create(network={"allow_public_traffic": False})
    try:
        token = made.traffic_access_token
        plain = f"http://{made.get_host(port)}"
        assert visit(cloud, plain) == 401
        assert visit(cloud, plain, **{"x-nullspace-traffic-access-token": str(token)}) == 200
        assert visit(cloud, made.get_url(port)) == 200
    finally:
        made.kill()


def test_metrics_have_the_networks_counters(machine: Machine) -> None:
    (metrics,) = machine.get_metrics()
    assert metrics.network_rx_bytes >= 0
    assert metrics.network_tx_bytes >= 0


def told(cloud: live.Live, home: Path, *words: str, code: int = 0) -> Any:
    """What the program prints, as JSON."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NULLSPACE")}
    its = {"NULLSPACE_API_KEY": cloud.key, "NULLSPACE_API_URL": f"{cloud.url}/nullspace", "HOME": str(home)}
    program = Path(sys.executable).with_name("nullspace")
    done = subprocess.run([program, *words, "--json"], env=kept | its, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_the_command_line_reaches_ports(cloud: live.Live, machine: Machine, port: int, tmp_path: Path) -> None:
    host = told(cloud, tmp_path, "machine", "host", machine.id, str(port))["host"]
    url = told(cloud, tmp_path, "machine", "url", machine.id, str(port), "--wait", "--readiness-kind", "http")
    assert (url["host"], url["url"], url["readiness"]["ready"]) == (host, f"http://{host}", True)
    made = told(cloud, tmp_path, "machine", "preview-url", "create", machine.id, str(port), "--expires", "10m")
    assert made["grant"]["status"] == "active"
    listed = told(cloud, tmp_path, "machine", "preview-url", "list", machine.id)
    items = listed if isinstance(listed, list) else listed["items"]
    assert [it["id"] for it in items] == [made["grant"]["id"]]
    gone = told(cloud, tmp_path, "machine", "preview-url", "revoke", machine.id, made["grant"]["id"])
    assert gone["success"]
