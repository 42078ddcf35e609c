"""Services over HTTP: what is asked of the control plane, and how its answers are told. Real ones are in tests/vm."""

import dataclasses
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from hutch import bootstrap, settings
from hutch.api import app
from hutch.api.smol import services as shown
from hutch.control.keys import Principal
from hutch.control.services import JournalLine, ServiceResult, Services, ServiceStatus
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.recipes import RestartPolicy, RestartWhen, Unit, UnitMode, UnitPatch

MACHINE = "mach-" + "a" * 20
ROOT = f"/v1/machines/{MACHINE}/services"
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


class Notes(Services):
    """Notes what it is asked, and answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def create(self, principal: Principal, machine: MachineId, *its: Unit) -> None:
        self.asked.append(("create", machine, *its))

    async def patch(self, principal: Principal, machine: MachineId, patch: UnitPatch) -> None:
        self.asked.append(("patch", machine, patch))

    async def list(self, principal: Principal, machine: MachineId) -> "list[str]":
        return ["app", "web"]

    async def delete(self, principal: Principal, machine: MachineId, name: str) -> None:
        raise errors.NotFound(f"there is no service {name}")

    async def status(self, principal: Principal, machine: MachineId, name: str) -> ServiceStatus:
        return ServiceStatus(name, "active", "running", "loaded", "ours")

    async def logs(
        self, principal: Principal, machine: MachineId, name: str, lines: int = 100, since: str | None = None
    ) -> "list[JournalLine]":
        self.asked.append(("logs", name, lines, since))
        return [JournalLine("begun", AT, 6, "web.service"), JournalLine("ä", AT)]

    async def start(self, principal: Principal, machine: MachineId, names: Collection[str]) -> "list[ServiceResult]":
        return [ServiceResult(name, name == "web", "as it is") for name in names]


@pytest.fixture
def services() -> Notes:
    return Notes()


@pytest.fixture
async def api(tmp_path: Path, services: Notes) -> AsyncIterator[httpx.AsyncClient]:
    its = settings.load({"HUTCH_HOME": str(tmp_path)})
    control = bootstrap.build_simulated(its)
    await control.open()
    key = await control.keys.bootstrap(force=True)
    transport = httpx.ASGITransport(app.build(dataclasses.replace(control, services=services), its))
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://hutch", headers=headers) as client:
        yield client
    await control.close()


async def test_a_service_is_made_as_it_is_described(api: httpx.AsyncClient, services: Notes) -> None:
    every = {
        "name": "web",
        "exec": ["/bin/a", "/bin/b"],
        "mode": "oneshot",
        "env": {"A": "b"},
        "user": "u",
        "group": "g",
        "workdir": "/srv",
        "after": ["a"],
        "requires": ["r"],
        "onFailure": ["f"],
        "wantedBy": ["w"],
        "enable": False,
        "timeoutSeconds": 1,
        "deleteAfterSuccess": True,
        "remainAfterExit": False,
        "readySignal": True,
        "watchdogSeconds": 2,
        "restart": {"policy": "on-failure", "delaySeconds": 3, "burst": 4, "intervalSeconds": 5},
    }
    answer = await api.post(ROOT, json=every)
    assert (answer.status_code, answer.json()) == (201, {"name": "web"})
    policy = RestartPolicy(RestartWhen.ON_FAILURE, 3, 4, 5)
    unit = Unit("web", UnitMode.ONESHOT, ("/bin/a", "/bin/b"), {"A": "b"}, "u", "g", "/srv", ("a",), ("r",), ("f",))
    rest = {"wanted_by": ("w",), "enable": False, "timeout": 1, "delete_after_success": True, "ready_signal": True}
    wanted = dataclasses.replace(unit, **rest, remain_after_exit=False, watchdog=2, restart=policy)  # type: ignore[arg-type]
    assert services.asked == [("create", "a" * 20, wanted)]
    assert set(every) == {field.alias for field in shown.recipes.NewService.model_fields.values()}


async def test_what_is_left_out_is_as_usual_or_stays(api: httpx.AsyncClient, services: Notes) -> None:
    assert (await api.post(ROOT, json={"name": "web", "exec": ["a"]})).status_code == 201
    answer = await api.patch(f"{ROOT}/web", json={"user": "u", "after": [], "env": None})
    assert (answer.status_code, answer.json()) == (200, {"name": "web"})
    assert services.asked == [
        ("create", "a" * 20, Unit("web", UnitMode.SERVICE, ("a",))),
        ("patch", "a" * 20, UnitPatch("web", {"user": "u", "after": ()})),
    ]


async def test_they_are_looked_at(api: httpx.AsyncClient, services: Notes) -> None:
    assert (await api.get(ROOT)).json() == ["app", "web"]
    status = await api.get(f"{ROOT}/web")
    shown.ServiceStatus.model_validate_json(status.content)
    assert status.json()["sub"] == "running"
    lines = (await api.get(f"{ROOT}/web/logs", params={"lines": 7, "since": "today"})).json()
    assert [shown.JournalLine.model_validate(it).message for it in lines] == ["begun", "ä"]
    assert lines[0] == {"message": "begun", "at": "2026-01-02T03:04:05.678Z", "priority": 6, "unit": "web.service"}
    assert services.asked == [("logs", "web", 7, "today")]


async def test_what_became_of_each_is_told(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"{ROOT}/start", json={"services": ["web", "app"]})
    results = [shown.ServiceResult.model_validate(it) for it in answer.json()]
    assert [(it.name, it.done) for it in results] == [("web", True), ("app", False)]
    missing = await api.delete(f"{ROOT}/none")
    assert (missing.status_code, missing.text) == (404, "there is no service none")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", {"name": "web"}),
        ("POST", "", {"name": "web", "exec": "a"}),
        ("POST", "", {"name": "web", "exec": ["a"], "restartPolicy": {}}),
        ("PATCH", "/web", {"name": "other"}),
        ("POST", "/start", {"services": []}),
        ("POST", "/start", {}),
    ],
)
async def test_what_is_of_another_form_is_refused(
    api: httpx.AsyncClient, services: Notes, method: str, path: str, body: object
) -> None:
    assert (await api.request(method, ROOT + path, json=body)).status_code == 422
    assert services.asked == []
