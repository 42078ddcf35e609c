"""Tenants: made, limited, suspended; their keys, and how often these may ask."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import live
from hutch.api.smol.tenants import TenantInfo

from .conftest import create


@dataclass(frozen=True)
class Tenant:
    """A tenant, and a client with an admin key of its own."""

    id: str
    admin: httpx.Client
    http: httpx.Client

    def limit(self, **limits: Any) -> dict[str, Any]:
        answer = self.admin.patch(f"/v1/tenants/{self.id}", json={"limits": limits})
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


@pytest.fixture
def tenant(http: httpx.Client, service: live.Live) -> Iterator[Tenant]:
    made = http.post("/v1/tenants", json={"name": f"t-{uuid.uuid4().hex[:8]}"})
    assert made.status_code == 201, made.text
    id = TenantInfo.model_validate_json(made.content).id
    key = http.post("/v1/apikeys", json={"tenantId": id, "scopes": ["admin"]}).json()["key"]
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=30) as theirs:
        yield Tenant(id, http, theirs)
        http.patch(f"/v1/tenants/{id}", json={"status": "active", "limits": {}})
        for machine in theirs.get("/v1/machines").json():
            theirs.delete(f"/v1/machines/{machine['id']}")


def test_a_tenant_is_told_listed_and_sees_itself(tenant: Tenant) -> None:
    shown = tenant.admin.get(f"/v1/tenants/{tenant.id}").json()
    assert (shown["status"], shown["limits"]["machines"], shown["planId"]) == ("active", None, None)
    assert shown in tenant.admin.get("/v1/tenants").json()
    assert tenant.http.get(f"/v1/tenants/{tenant.id}").json() == shown


def test_a_tenants_admin_is_no_admin_of_the_box(tenant: Tenant) -> None:
    assert tenant.http.get("/v1/tenants").status_code == 403
    assert tenant.http.post("/v1/tenants", json={"name": "x"}).status_code == 403
    assert tenant.http.patch(f"/v1/tenants/{tenant.id}", json={"limits": {}}).status_code == 403
    assert tenant.http.post(f"/v1/tenants/{tenant.id}/suspend").status_code == 403
    own = tenant.admin.get("/v1/tenants").json()[0]["id"]
    assert tenant.http.get(f"/v1/tenants/{own}").status_code == 404
    assert tenant.http.post("/v1/apikeys", json={"tenantId": own}).status_code == 404
    assert tenant.http.get("/v1/usage", params={"tenantId": own}).status_code == 404


def test_a_limit_that_is_reached_is_422_and_says_which(tenant: Tenant) -> None:
    assert tenant.limit(machines=1)["limits"]["machines"] == 1
    assert create(tenant.http).status_code == 201
    answer = create(tenant.http)
    assert answer.status_code == 422
    assert "machines" in answer.text
    assert "1" in answer.text
    assert tenant.limit()["limits"]["machines"] is None
    assert create(tenant.http).status_code == 201


def test_a_suspended_tenant_looks_and_deletes_and_nothing_else(tenant: Tenant) -> None:
    machine = create(tenant.http).json()["id"]
    assert tenant.admin.post(f"/v1/tenants/{tenant.id}/suspend").status_code == 204
    assert tenant.admin.get(f"/v1/tenants/{tenant.id}").json()["status"] == "suspended"
    assert tenant.http.get(f"/v1/machines/{machine}").status_code == 200
    for refused in (create(tenant.http), tenant.http.post(f"/v1/machines/{machine}/start")):
        assert (refused.status_code, "suspended" in refused.text) == (403, True)
    assert tenant.http.delete(f"/v1/machines/{machine}").status_code == 204
    assert tenant.admin.post(f"/v1/tenants/{tenant.id}/reactivate").status_code == 204
    assert create(tenant.http).status_code == 201


def test_status_suspends_and_reactivates_as_documented(tenant: Tenant) -> None:
    for status in ("suspended", "active"):
        answer = tenant.admin.patch(f"/v1/tenants/{tenant.id}", json={"status": status})
        assert (answer.status_code, answer.json()["status"]) == (200, status)


def test_the_tenant_of_the_box_cannot_be_suspended(http: httpx.Client) -> None:
    default = next(it for it in http.get("/v1/tenants").json() if it["name"] == "default")
    assert http.post(f"/v1/tenants/{default['id']}/suspend").status_code == 409
    assert http.get("/v1/machines").status_code == 200


def test_too_many_requests_are_429_with_when_to_come_back_but_never_a_command(tenant: Tenant) -> None:
    machine = create(tenant.http).json()["id"]
    tenant.limit(requestsPerSecond=2)
    answers = [tenant.http.get("/v1/machines") for _ in range(12)]
    assert {it.status_code for it in answers} == {200, 429}
    assert int(answers[0].headers["x-ratelimit-remaining"]) >= 0
    refused = next(it for it in answers if it.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert "too many requests" in refused.text
    assert refused.headers["x-request-id"]
    for _ in range(8):
        assert tenant.http.post(f"/v1/machines/{machine}/exec", json={"command": "true"}).status_code == 200
    time.sleep(float(refused.headers["retry-after"]))
    assert tenant.http.get("/v1/machines").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"name": "sp ace"}, 400),
        ({"name": "default"}, 409),
        ({"name": "x", "planId": "pro"}, 501),
        ({"name": "x", "id": "mine"}, 501),
        ({"name": "x", "limits": {"machines": -1}}, 422),
        ({"name": "x", "limits": {"machines": "3"}}, 422),
    ],
)
def test_a_tenant_that_makes_no_sense_is_refused(http: httpx.Client, body: object, status: int) -> None:
    answer = http.post("/v1/tenants", json=body)
    assert (answer.status_code, bool(answer.text)) == (status, True)


def test_an_unknown_tenant_is_404(http: httpx.Client) -> None:
    assert http.get("/v1/tenants/none").status_code == 404
    assert http.patch("/v1/tenants/none", json={"limits": {}}).status_code == 404
    assert http.post("/v1/tenants/none/suspend").status_code == 404
    assert http.post("/v1/apikeys", json={"tenantId": "none"}).status_code == 404
