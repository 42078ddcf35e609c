"""Domains over the native API."""

from collections.abc import Iterator

import httpx
import pytest

from hutch.api.smol.domains import DomainInfo

from .conftest import Machine

NAME = "shop.invalid"


@pytest.fixture(autouse=True)
def _alone(http: httpx.Client) -> Iterator[None]:
    yield
    for it in http.get("/v1/domains").json():
        http.delete(f"/v1/domains/{it['name']}")


def claim(http: httpx.Client, machine: str, name: str = NAME, port: int = 8080) -> DomainInfo:
    answer = http.post("/v1/domains", json={"name": name, "machine": machine, "port": port})
    assert answer.status_code == 201, answer.text
    return DomainInfo.model_validate_json(answer.content)


def test_a_claim_tells_how_it_is_proven(http: httpx.Client, machine: Machine) -> None:
    made = claim(http, machine.id)
    assert (made.name, made.machine_id, made.port, made.verified) == (NAME, machine.id, 8080, False)
    assert made.record.name == f"_hutch.{NAME}"
    token = made.record.value.removeprefix("hutch-verify=")
    assert made.file.url == f"http://{NAME}/.well-known/hutch/{token}"
    assert made.file.content == made.record.value
    shown = http.get(f"/v1/domains/{NAME.upper()}")
    assert DomainInfo.model_validate_json(shown.content) == made
    assert shown.json() in http.get("/v1/domains").json()


def test_a_name_without_its_proof_is_not_verified(http: httpx.Client, machine: Machine) -> None:
    made = claim(http, machine.id)
    answer = http.post(f"/v1/domains/{NAME}/verify")
    assert answer.status_code == 409
    assert made.record.value in answer.text
    assert not http.get(f"/v1/domains/{NAME}").json()["verified"]


def test_a_machine_may_be_named_and_takes_its_domains_with_it(http: httpx.Client, machine: Machine) -> None:
    assert claim(http, machine.look()["name"]).machine_id == machine.id
    http.delete(machine.path)
    assert http.get(f"/v1/domains/{NAME}").status_code == 404


def test_a_domain_is_given_up(http: httpx.Client, machine: Machine) -> None:
    claim(http, machine.id)
    assert http.delete(f"/v1/domains/{NAME}").status_code == 204
    assert http.delete(f"/v1/domains/{NAME}").status_code == 404
    assert http.post(f"/v1/domains/{NAME}/verify").status_code == 404


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        *(("name", name, 400) for name in ("", "shop", "127.0.0.1", "a.hutch.localhost", "*.shop.invalid", "a b.c")),
        *(("port", port, 400) for port in (0, 65536)),
        ("machine", "no-such-machine", 404),
        ("machine", "mach-aaaaaaaaaaaaaaaaaaaa", 404),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(
    http: httpx.Client, machine: Machine, field: str, value: object, status: int
) -> None:
    body = {"name": NAME, "machine": machine.id, "port": 80, field: value}
    answer = http.post("/v1/domains", json=body)
    assert (answer.status_code, bool(answer.text)) == (status, True)
    assert http.get("/v1/domains").json() == []
