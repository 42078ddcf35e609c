"""What every answer has, and what the service says of itself."""

import re
import socket
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx
import pytest

import live
from hutch.api.smol import responses

from .conftest import Machine


def test_health_needs_no_key_and_has_the_documented_fields(service: live.Live) -> None:
    answer = httpx.get(f"{service.url}/health", trust_env=False)
    shown = responses.Health.model_validate_json(answer.content)
    assert (shown.api_version, shown.nodes_total, shown.nodes_ready) == (2, 1, 1)
    assert {"clusterId", "version", "apiVersion", "capabilities", "uptimeSecs", "appsTotal"} <= set(answer.json())
    assert set(shown.capabilities) == {
        "machine.branch",
        "machine.branch_batch",
        "machine.branch_source_continues",
        "machine.lineage",
    }


def test_probes_answer_in_text(service: live.Live) -> None:
    for path in ("/livez", "/readyz"):
        answer = httpx.get(f"{service.url}{path}", trust_env=False)
        assert (answer.status_code, answer.text) == (200, "ok")


def test_every_answer_has_a_request_id_and_a_safe_one_is_echoed(http: httpx.Client) -> None:
    for path in ("/health", "/v1/machines", "/nowhere", "/metrics"):
        assert re.fullmatch("[0-9a-f]{16}", http.get(path).headers["x-request-id"])
    assert http.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert http.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"
    assert httpx.get(f"{http.base_url}/v1/machines", trust_env=False).headers["x-request-id"]


def test_metrics_count_by_route_and_never_by_id(http: httpx.Client, machine: Machine) -> None:
    machine.exec("true")
    http.get("/nowhere")
    page = http.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert re.search(
        r'hutch_http_requests_total\{method="POST",route="/v1/machines/\{id\}/exec",status="200"\}', page.text
    )
    assert 'route="unmatched",status="404"' in page.text
    assert re.search(r'hutch_machines\{state="running"\} [1-9]', page.text)
    assert re.search(r'hutch_execs_total\{kind="buffered"\} [1-9]', page.text)
    assert machine.id not in page.text


def test_the_openapi_document_tells_bodies_answers_and_keys(http: httpx.Client) -> None:
    paper = httpx.get(f"{http.base_url}/smol/openapi.json", trust_env=False).json()
    create = paper["paths"]["/v1/machines"]["post"]
    body = create["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    assert "source" in paper["components"]["schemas"][body]["required"]
    assert "201" in create["responses"]
    assert paper["security"] == [{"bearer": []}]
    assert paper["paths"]["/health"]["get"]["security"] == []


def test_every_reference_of_the_document_leads_somewhere(http: httpx.Client) -> None:
    text = http.get("/smol/openapi.json").text
    schemas = http.get("/smol/openapi.json").json()["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in schemas


def test_the_docs_page_fetches_nothing_from_outside(http: httpx.Client) -> None:
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend([value or "" for name, value in attrs if name in ("href", "src")])
            assert tag not in ("script", "iframe", "link")

    page = httpx.get(f"{http.base_url}/smol/docs", trust_env=False)
    assert page.headers["content-type"].startswith("text/html")
    Links().feed(page.text)
    assert found
    assert all(link == "openapi.json" or link.startswith("#") for link in found)
    assert "/v1/machines/{id}/exec" in page.text


@pytest.mark.parametrize(
    "request_line", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 64, b"GET /\xff HTTP/1.1\r\n\r\n"]
)
def test_what_is_not_http_ends_its_connection_and_nothing_else(service: live.Live, request_line: bytes) -> None:
    target = urlsplit(service.url)
    with socket.create_connection((target.hostname, target.port), timeout=5) as sock:
        sock.sendall(request_line)
        assert sock.recv(100)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 401", b"")
    assert httpx.get(f"{service.url}/health", trust_env=False).status_code == 200
