"""One service on the simulated host for all of these tests, spoken to over real HTTP; a machine per test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import live
from hutch.api.nullspace import responses


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

    def exec(self, command: str, **fields: Any) -> dict[str, Any]:
        """A command that the service ran, whatever became of it."""
        answer = self.post("exec", {"command": command, **fields})
        assert answer.status_code == 200, answer.text
        responses.ExecResult.model_validate_json(answer.content)
        result: dict[str, Any] = answer.json()
        return result

    def look(self) -> dict[str, Any]:
        return told(self.http.get(self.path))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    with live.simulated(tmp_path_factory.mktemp("nullspace")) as running:
        yield running


@pytest.fixture(scope="session")
def key(service: live.Live) -> str:
    """A key that speaks this dialect at the root."""
    headers = {"authorization": f"Bearer {service.key}"}
    made = httpx.post(f"{service.url}/nullspace/v1/keys", json={"name": "tests"}, headers=headers, trust_env=False)
    assert made.status_code == 201, made.text
    return str(made.json()["key"])


@pytest.fixture
def http(service: live.Live, key: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def create(http: httpx.Client, idempotency: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if idempotency is None else {"idempotency-key": idempotency}
    return http.post("/v1/machines", json=fields, headers=headers)


def told(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The machine that was answered, which fits its document."""
    assert answer.status_code == status, answer.text
    responses.Machine.model_validate_json(answer.content)
    shown: dict[str, Any] = answer.json()
    return shown


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The words of an error, which has its form."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    it = responses.Error.model_validate_json(answer.content)
    assert it.request_id in (None, answer.headers["x-request-id"])
    return it.error


@pytest.fixture
def machine(http: httpx.Client) -> Iterator[Machine]:
    """A machine, which runs."""
    it = Machine(http, told(create(http), 201)["id"])
    yield it
    http.delete(it.path)
