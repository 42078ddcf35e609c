"""One service on the simulated host for all of these tests, spoken to over real HTTP; a machine per test."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import live
from hutch.api.hyperfleet import responses

_NUMBER = itertools.count()


@dataclass(frozen=True)
class Machine:
    """A machine under test, and the client to reach it."""

    http: httpx.Client
    id: str

    @property
    def path(self) -> str:
        return f"/machines/{self.id}"

    def post(self, what: str, body: object = None, **options: Any) -> httpx.Response:
        return self.http.post(f"{self.path}/{what}", json=body, **options)

    def look(self) -> dict[str, Any]:
        return told(self.http.get(self.path))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    with live.simulated(tmp_path_factory.mktemp("hyperfleet")) as running:
        yield running


@pytest.fixture(scope="session")
def key(service: live.Live) -> str:
    """A key that begins as this dialect's do."""
    headers = {"authorization": f"Bearer {service.key}"}
    made = httpx.post(f"{service.url}/v1/apikeys", json={"prefix": "hf"}, headers=headers, trust_env=False)
    return str(made.json()["key"])


@pytest.fixture
def http(service: live.Live, key: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def create(http: httpx.Client, **fields: Any) -> httpx.Response:
    usual = {"name": f"m{next(_NUMBER)}", "vcpu_count": 1, "mem_size_mib": 128}
    return http.post("/machines", json={**usual, **fields})


def told(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The machine that was answered, which fits its document."""
    assert answer.status_code == status, answer.text
    responses.Machine.model_validate_json(answer.content)
    shown: dict[str, Any] = answer.json()
    return shown


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The words of an error, which has its form."""
    it = responses.Error.model_validate_json(answer.content).error
    assert (answer.status_code, it.code) == (status, code), answer.text
    return it.message


@pytest.fixture
def machine(http: httpx.Client) -> Iterator[Machine]:
    """A machine, pending."""
    it = Machine(http, told(create(http), 201)["id"])
    yield it
    http.delete(it.path.replace("/machines", "/smol/v1/machines"))


@pytest.fixture
def running(machine: Machine) -> Machine:
    """The same, running."""
    told(machine.post("start"))
    return machine
