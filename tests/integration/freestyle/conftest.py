"""One service on the simulated host for all of these tests, spoken to over real HTTP; a VM per test."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

import contract_of
import live
from hutch.api.freestyle import codes, responses

WITHIN = 60.0

CONTRACT = contract_of.Contract(os.environ.get("FREESTYLE_CONTRACT"))
"""The path of the documented service's own OpenAPI file, against which every answer is held then."""


@dataclass(frozen=True)
class Vm:
    """A VM under test, and the client to reach it."""

    http: httpx.Client
    id: str

    @property
    def path(self) -> str:
        return f"/v1/vms/{self.id}"

    def post(self, what: str, body: object = None, **options: Any) -> httpx.Response:
        return self.http.post(f"{self.path}/{what}", json=body, **options)

    def look(self) -> dict[str, Any]:
        return told(self.http.get(self.path), responses.GetVm)

    def wait(self, state: str) -> dict[str, Any]:
        """It, as soon as it is in this state."""
        until = time.monotonic() + WITHIN
        while True:
            it = self.look()
            if it["state"] == state:
                return it
            assert time.monotonic() < until, it
            time.sleep(0.05)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    with live.simulated(tmp_path_factory.mktemp("freestyle")) as running:
        yield running


@pytest.fixture
def http(service: live.Live) -> Iterator[httpx.Client]:
    headers, hooks = {"authorization": f"Bearer {service.key}"}, {"response": [CONTRACT.check]}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=60, event_hooks=hooks) as client:
        yield client


def told(answer: httpx.Response, model: type[BaseModel]) -> dict[str, Any]:
    """What was answered, which fits its document."""
    assert answer.status_code == 200, answer.text
    model.model_validate_json(answer.content)
    shown: dict[str, Any] = answer.json()
    return shown


def refused(answer: httpx.Response, code: str, status: int | None = None) -> str:
    """The words of an error, which has its form; the status is the code's own if none is given."""
    it = responses.Error.model_validate_json(answer.content)
    assert (it.code, it.error) == (code, code), answer.text
    assert answer.status_code == (status or codes.STATUSES[code]), answer.text
    assert answer.headers["x-freestyle-trace-id"]
    return it.message


def create(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/vms", json=fields)


@pytest.fixture
def vm(http: httpx.Client) -> Iterator[Vm]:
    """A VM, which runs."""
    it = Vm(http, told(create(http), responses.CreatedVm)["id"])
    yield it
    http.delete(it.path)
