"""One service on the simulated host for all of these tests, spoken to over real HTTP; an instance per test."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import live
from hutch.api.starpod import responses


@dataclass(frozen=True)
class Instance:
    """An instance under test, and the client to reach it."""

    http: httpx.Client
    id: str

    @property
    def path(self) -> str:
        return f"/api/instances/{self.id}"

    @property
    def native(self) -> str:
        return f"/smol/v1/machines/{self.id.removeprefix('inst_')}"

    def post(self, what: str) -> httpx.Response:
        return self.http.post(f"{self.path}/{what}")

    def look(self) -> dict[str, Any]:
        return told(self.http.get(self.path))

    def wait_healthy(self, path: str) -> dict[str, Any]:
        """It, at `path` or in the list there, once it has told of its health quickly enough."""
        until = time.monotonic() + 60
        while True:
            found = self.http.get(path).json()
            it: dict[str, Any] = found if isinstance(found, dict) else {one["id"]: one for one in found}[self.id]
            if it["health"] is not None or time.monotonic() > until:
                return it


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    with live.simulated(tmp_path_factory.mktemp("starpod"), HUTCH_REGION="us-east-1") as running:
        yield running


@pytest.fixture
def http(service: live.Live) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": service.key, "authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def told(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The instance that was answered, which fits its document."""
    assert answer.status_code == status, answer.text
    responses.Instance.model_validate_json(answer.content, strict=True)
    shown: dict[str, Any] = answer.json()
    return shown


def refused(answer: httpx.Response, status: int) -> str:
    """The words of an error, which has its form."""
    assert answer.status_code == status, answer.text
    return responses.Error.model_validate_json(answer.content).error


@pytest.fixture
def instance(http: httpx.Client) -> Iterator[Instance]:
    """An instance, which runs."""
    it = Instance(http, told(http.post("/api/instances", json={}), 201)["id"])
    yield it
    http.delete(it.path)
