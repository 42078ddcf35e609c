"""What was used, by a tenant and by a machine."""

import httpx
import pytest

from hutch.api.smol.usage import COSTS, MachineUsageReport, UsageReport

from .conftest import Machine


def report(http: httpx.Client, **params: str) -> UsageReport:
    answer = http.get("/v1/usage", params=params)
    assert answer.status_code == 200, answer.text
    return UsageReport.model_validate_json(answer.content)


def test_a_tenants_usage_has_the_documented_fields_and_counts_what_ran(running: Machine) -> None:
    before = report(running.http)
    running.exec("true")
    after = report(running.http)
    assert after.exec_count > before.exec_count
    assert after.machine_count >= 1
    assert after.tenant_id.startswith("tenant-")
    assert after.from_ < after.to


def test_a_period_may_be_asked_for(http: httpx.Client) -> None:
    long_ago = report(http, **{"from": "2020-01-01", "to": "2020-02-01T00:00:00Z"})
    assert (long_ago.total_uptime_seconds, long_ago.machine_count, long_ago.exec_count) == (0, 0, 0)
    assert (long_ago.from_, long_ago.to) == ("2020-01-01T00:00:00.000Z", "2020-02-01T00:00:00.000Z")
    own = report(http).tenant_id
    assert report(http, tenantId=own).tenant_id == own
    assert report(http, tenantId=own.removeprefix("tenant-")).tenant_id == own


@pytest.mark.parametrize("query", ["from=yesterday", "to=2020-13-01", "from=2020-02-01&to=2020-01-01"])
def test_a_period_that_makes_no_sense_is_400(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/usage?{query}")
    assert (answer.status_code, bool(answer.text)) == (400, True)


def test_the_usage_of_no_tenant_is_404(http: httpx.Client) -> None:
    assert http.get("/v1/usage?tenantId=acme").status_code == 404


def test_a_machines_usage_outlives_it(running: Machine) -> None:
    running.exec("true")
    answer = running.http.get(f"{running.path}/usage")
    assert answer.status_code == 200, answer.text
    now = MachineUsageReport.model_validate_json(answer.content)
    assert (now.machine_id, set(now.cost), set(now.cost.values())) == (running.id, set(COSTS), {0})
    assert now.usage.exec_count >= 1
    gone = running.http.delete(running.path, params={"includeUsage": "true"})
    assert gone.status_code == 200, gone.text
    last = MachineUsageReport.model_validate_json(gone.content)
    assert last.usage.total_uptime_seconds >= now.usage.total_uptime_seconds
    assert running.http.get(running.path).status_code == 404
    assert running.http.get(f"{running.path}/usage").json()["usage"] == gone.json()["usage"]


def test_a_key_that_may_not_see_usage_deletes_nothing_with_it(machine: Machine) -> None:
    key = machine.http.post("/v1/apikeys", json={"scopes": ["machine:delete"]}).json()["key"]
    headers = {"authorization": f"Bearer {key}"}
    refused = machine.http.delete(machine.path, params={"includeUsage": "true"}, headers=headers)
    assert refused.status_code == 403
    assert machine.look()["state"] == "stopped"
    assert machine.http.delete(machine.path, headers=headers).status_code == 204


def test_the_usage_of_no_machine_is_404(http: httpx.Client) -> None:
    answer = http.get("/v1/machines/mach-aaaaaaaaaaaaaaaaaaaa/usage")
    assert (answer.status_code, answer.text) == (404, "machine not found")
