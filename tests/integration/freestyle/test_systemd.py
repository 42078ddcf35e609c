"""Services of a VM's systemd, as the wire has them."""

from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import office
from hutch.api.freestyle import dialect, guest_responses
from hutch.control.keys import Principal
from hutch.control.services import JournalLine, ServiceResult, Services, ServiceStatus
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.recipes import RestartPolicy, RestartWhen, Unit, UnitMode

from .conftest import Vm, refused, told

FULL = {
    "name": "web",
    "mode": "service",
    "exec": ["/bin/a", "/bin/b"],
    "env": {"A": "b"},
    "user": "dev",
    "group": "dev",
    "workdir": "/srv",
    "after": ["x.service"],
    "requires": ["y.service"],
    "onFailure": ["z.service"],
    "wantedBy": ["multi-user.target"],
    "enable": False,
    "timeoutSec": 7,
    "deleteAfterSuccess": True,
    "remainAfterExit": False,
    "readySignal": True,
    "watchdogSec": 9,
    "restartPolicy": {"policy": "on-abnormal", "restartSec": 1, "startLimitBurst": 2, "startLimitIntervalSec": 3},
}

UNIT = Unit(
    name="web",
    mode=UnitMode.SERVICE,
    exec=("/bin/a", "/bin/b"),
    env={"A": "b"},
    user="dev",
    group="dev",
    workdir="/srv",
    after=("x.service",),
    requires=("y.service",),
    on_failure=("z.service",),
    enable=False,
    timeout=7,
    delete_after_success=True,
    remain_after_exit=False,
    ready_signal=True,
    watchdog=9,
    restart=RestartPolicy(RestartWhen.ON_ABNORMAL, 1, 2, 3),
)


class Guest:
    """Services of a guest without one."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.asked: list[tuple[object, ...]] = []

    async def create(self, me: Principal, machine: MachineId, *units: Unit) -> None:
        for unit in units:
            if unit.name in self.units:
                raise errors.Conflict("there is one")
            self.units[unit.name] = unit

    async def list(self, me: Principal, machine: MachineId) -> list[str]:
        return [*self.units]

    async def delete(self, me: Principal, machine: MachineId, name: str) -> None:
        if self.units.pop(name, None) is None:
            raise errors.NotFound("none")

    async def status(self, me: Principal, machine: MachineId, name: str) -> ServiceStatus:
        if name not in self.units:
            raise errors.NotFound("none")
        return ServiceStatus(name, "active", "running", "loaded", "a service")

    async def logs(self, me: Principal, machine: MachineId, name: str, lines: int, since: str | None) -> object:
        self.asked.append((name, lines, since))
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return [JournalLine("words", at, 6, "web.service"), JournalLine("more", at)]

    async def act(self, me: Principal, machine: MachineId, names: Collection[str]) -> object:
        return [ServiceResult(name, name in self.units, "words") for name in names]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[office.Office]:
    async with office.opened(tmp_path, dialect.build, {}) as it:
        yield it


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Guest:
    it = Guest()
    calls = {"create": it.create, "list": it.list, "delete": it.delete, "status": it.status, "logs": it.logs}
    for name, call in {**calls, "start": it.act, "stop": it.act, "restart": it.act}.items():
        monkeypatch.setattr(Services, name, lambda _, *its, call=call: call(*its))
    return it


class Systemd:
    """The routes of one VM."""

    def __init__(self, desk: office.Office, id: str) -> None:
        self._desk, self._path = desk, f"/v1/vms/{id}/systemd"

    async def ask(self, method: str, what: str, body: object = None, **query: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._desk.key}"}
        return await self._desk.http.request(
            method, f"{self._path}/{what}", json=body, params=query or None, headers=headers
        )


@pytest.fixture
async def systemd(desk: office.Office, guest: Guest) -> Systemd:
    return Systemd(desk, (await desk.machine()).id)


async def test_every_field_of_a_service_is_read(systemd: Systemd, guest: Guest) -> None:
    answer = await systemd.ask("POST", "services", FULL)
    assert told(answer, guest_responses.CreatedService)["serviceName"] == "web"
    assert guest.units == {"web": UNIT}
    refused(await systemd.ask("POST", "services", FULL), "SERVICE_ALREADY_EXISTS")


async def test_what_is_left_out_or_null_is_as_documented(systemd: Systemd, guest: Guest) -> None:
    least = {"name": "web", "mode": "oneshot", "exec": ["/bin/a"]}
    await systemd.ask("POST", "services", {**dict.fromkeys(FULL), **least})
    assert guest.units == {"web": Unit("web", UnitMode.ONESHOT, ("/bin/a",))}


async def test_services_are_listed_looked_at_and_deleted(systemd: Systemd, guest: Guest) -> None:
    await systemd.ask("POST", "services", FULL)
    assert told(await systemd.ask("GET", "services"), guest_responses.Services) == {"services": [{"name": "web"}]}
    status = told(await systemd.ask("GET", "services/web/status"), guest_responses.ServiceStatus)
    assert (status["activeState"], status["subState"], status["loadState"]) == ("active", "running", "loaded")
    logs = told(await systemd.ask("GET", "services/web/logs", lines=5, since="today"), guest_responses.Journal)["logs"]
    assert logs[0] == {
        "message": "words",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "priority": "6",
        "unit": "web.service",
    }
    assert guest.asked == [("web", 5, "today")]
    assert told(await systemd.ask("DELETE", "services/web"), guest_responses.DeletedService)["success"] is True
    for method, what in (("DELETE", "services/web"), ("GET", "services/web/status")):
        refused(await systemd.ask(method, what), "SERVICE_NOT_FOUND")


@pytest.mark.parametrize("what", ["start", "stop", "restart"])
async def test_each_of_several_has_its_own_result(systemd: Systemd, what: str) -> None:
    await systemd.ask("POST", "services", FULL)
    answer = await systemd.ask("POST", what, {"services": [{"id": "web"}, {"id": "none"}]})
    results = told(answer, guest_responses.Batch)["results"]
    assert [(it["serviceId"], it["success"], it["message"]) for it in results] == [
        ("web", True, "words"),
        ("none", False, "words"),
    ]
    refused(await systemd.ask("POST", what, {"services": ["web"]}), "VALIDATION_ERROR", 400)


def test_a_guest_without_systemd_says_so(vm: Vm) -> None:
    body = {"name": "web", "mode": "service", "exec": ["/bin/a"]}
    assert "systemd" in refused(vm.post("systemd/services", body), "UNSUPPORTED_OS")
    refused(vm.http.get(f"{vm.path}/systemd/services/web/status"), "UNSUPPORTED_OS")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": ""}, "SERVICE_NAME_EMPTY"),
        ({"name": "a/b"}, "SERVICE_NAME_INVALID_CHARS"),
        ({"name": "-a"}, "SERVICE_NAME_INVALID_PREFIX"),
        ({"name": "x" * 300}, "SERVICE_NAME_TOO_LONG"),
        ({"exec": []}, "EXEC_EMPTY"),
        ({"env": {"": "x"}}, "ENV_KEY_EMPTY"),
        ({"env": {"a=b": "x"}}, "ENV_KEY_CONTAINS_EQUALS"),
        ({"after": [""]}, "AFTER_ARRAY_CONTAINS_EMPTY"),
        ({"requires": [""]}, "REQUIRES_ARRAY_CONTAINS_EMPTY"),
        ({"onFailure": [""]}, "ON_FAILURE_ARRAY_CONTAINS_EMPTY"),
        ({"wantedBy": [""]}, "WANTED_BY_EMPTY"),
        ({"workdir": ""}, "WORKDIR_EMPTY"),
        ({"user": ""}, "USER_EMPTY"),
        ({"group": ""}, "GROUP_EMPTY"),
        ({"mode": "x"}, "VALIDATION_ERROR"),
        ({"timeoutSec": -1}, "VALIDATION_ERROR"),
        ({"restartPolicy": {"policy": "sometimes"}}, "VALIDATION_ERROR"),
    ],
)
def test_what_makes_no_sense_is_told_by_its_code(vm: Vm, change: dict[str, object], code: str) -> None:
    refused(vm.post("systemd/services", {"name": "web", "mode": "service", "exec": ["/bin/a"], **change}), code)
