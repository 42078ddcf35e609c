"""One service on the simulated host for all of these tests, spoken to over real HTTP; a machine per test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import live
from hutch.api.smol import responses


@dataclass(frozen=True)
class Machine:
    """A machine under test, and the client to reach it."""

    http: httpx.Client
    id: str

    @property
    def path(self) -> str:
        return f"/v1/machines/{self.id}"

    def post(self, what: str, body: object = None, **options: Any) -> httpx.Response:
        return self.http.post(f"{self.path}/{what}", json=body, **options)

    def exec(self, command: object, **fields: Any) -> dict[str, Any]:
        """A command that the service ran, whatever became of it."""
        answer = self.post("exec", {"command": command, **fields})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(self.path).json()
        return found


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    with live.simulated(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def http(service: live.Live) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def create(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/machines", json={"source": {"type": "image", "reference": "debian"}, **fields})


@pytest.fixture
def machine(http: httpx.Client) -> Iterator[Machine]:
    """A machine, stopped: what needs it running starts it."""
    made = create(http)
    assert made.status_code == 201, made.text
    it = Machine(http, made.json()["id"])
    yield it
    http.delete(it.path)


@pytest.fixture
def running(machine: Machine) -> Machine:
    """The same, running."""
    assert machine.post("start").json()["ready"]
    return machine


def told(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The machine that was answered, which fits its document."""
    assert answer.status_code == status, answer.text
    responses.Machine.model_validate_json(answer.content)
    shown: dict[str, Any] = answer.json()
    return shown
