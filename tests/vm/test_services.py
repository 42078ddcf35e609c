"""Services of real guests: each field's effect as the guest shows it, what goes wrong, and what is left."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hutch import settings
from hutch.control import plane
from hutch.control.clock import SystemClock
from hutch.control.commands import Command
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.control.services import Services
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.recipes import RestartPolicy, RestartWhen, Unit, UnitMode, UnitPatch
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.memory import MemoryStore

LIMIT = 120.0
SECRET = "a b\"c'd\\e%h$HOME\nX=1\t;é"


class Box:
    """One machine and its services."""

    def __init__(self, control: ControlPlane, me: Principal, machine: MachineId) -> None:
        self.control, self.me, self.machine = control, me, machine
        self.services: Services = control.services

    async def make(self, *its: Unit) -> None:
        await self.services.create(self.me, self.machine, *its)

    async def active(self, name: str) -> str:
        return (await self.services.status(self.me, self.machine, name)).active

    async def finished(self, *names: str) -> dict[str, tuple[bool, str]]:
        results = await self.services.finished(self.me, self.machine, names, LIMIT)
        return {it.name: (it.is_done, it.message) for it in results}

    async def run(self, line: str) -> str:
        command = Command(argv=("sh", "-c", line), user="root", timeout=LIMIT)
        return (await self.control.processes.run(self.me, self.machine, command)).stdout.decode()

    async def show(self, name: str, *properties: str) -> dict[str, str]:
        told = await self.run(f"systemctl show -p {','.join(properties)} {name}.service")
        return dict(line.split("=", 1) for line in told.splitlines() if line)

    async def until(self, what: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(LIMIT):
            while not await what():
                await asyncio.sleep(0.3)


@pytest.fixture
async def boxes(wanted: settings.Settings) -> AsyncIterator[Callable[[str], Awaitable[Box]]]:
    """Makes machines of an image."""
    host = LocalHost(wanted, Paths(wanted.service.home))
    told = (MemorySender(), MemoryProofs())
    parts = plane.Parts(MemoryStore(), host, SystemClock(), contextlib.nullcontext(), "test", *told)
    control = plane.assemble(parts, wanted)
    await control.open()
    made = list[Box]()
    try:
        token = await control.keys.bootstrap()
        assert token is not None
        me = control.keys.authenticate(token)

        async def make(image: str) -> Box:
            request = MachineRequest(image, memory_mib=512 if image == "debian" else 128, disk_gib=2)
            machine = await control.machines.launch(me, request)
            made.append(Box(control, me, machine.id))
            return made[-1]

        yield make
        for it in made:
            await control.machines.delete(me, it.machine)
    finally:
        await control.close()


def service(name: str, *lines: str, **fields: object) -> Unit:
    return Unit(name, UnitMode.SERVICE, lines or ("sleep 10000",), **fields)  # type: ignore[arg-type]


def oneshot(name: str, *lines: str, **fields: object) -> Unit:
    return Unit(name, UnitMode.ONESHOT, lines or ("true",), **fields)  # type: ignore[arg-type]


async def test_every_field_has_its_effect(boxes: Callable[[str], Awaitable[Box]]) -> None:
    box = await boxes("debian")
    await box.run("mkdir -p '/srv/a %h'; mkfifo /tmp/go")
    every = service(
        "every",
        "sh -c 'echo one > /tmp/every'",
        "sh -c 'id -un; id -gn; pwd; printenv WORDS; echo two\n echo three; exec sleep 10000' ",
        env={"WORDS": SECRET, "OTHER": ""},
        user="daemon",
        group="games",
        workdir="/srv/a %h",
        after=("before", "network.target"),
        requires=("before.service",),
        on_failure=("helper",),
        wanted_by=("multi-user.target", "graphical.target"),
        timeout=77,
        restart=RestartPolicy(RestartWhen.ON_ABNORMAL, delay=7, burst=9, interval=55),
    )
    await box.make(
        every,
        oneshot("before", "sh -c 'echo 1 > /tmp/before'", "sh -c 'echo 2 >> /tmp/before'"),
        oneshot("again", remain_after_exit=False),
        oneshot("gone", "sleep 1", delete_after_success=True, user="daemon"),
        oneshot("needs-gone", "sh -c 'echo ran > /tmp/needs'", after=("gone",), requires=("gone",)),
        oneshot("breaks", "sh -c 'echo wrong; exit 3'", on_failure=("helper",)),
        oneshot("needs-breaks", after=("breaks",), requires=("breaks",)),
        oneshot("helper", "sh -c 'echo help > /tmp/helper'", enable=False),
        service("unending", enable=False, timeout=0),
        service("tells", "sh -c 'read -r go < /tmp/go; systemd-notify --ready; sleep 10000'",
                ready_signal=True),
        service("hangs", watchdog=1),
        service("falls", "false", restart=RestartPolicy(RestartWhen.ON_FAILURE, delay=0, burst=3, interval=600)),
    )  # fmt: skip
    names = ("every", "before", "again", "gone", "needs-gone", "breaks", "needs-breaks", "hangs", "falls")
    ended = await box.finished(*names)
    assert {name: is_done for name, (is_done, _) in ended.items()} == dict.fromkeys(names[:5], True) | dict.fromkeys(
        names[5:], False
    )
    assert "wrong" in ended["breaks"][1]
    assert "requires" in ended["needs-breaks"][1]
    assert ended["hangs"][1].startswith("watchdog")
    its = await box.show(
        "every",
        *("Type", "Environment", "User", "Group", "WorkingDirectory", "After", "Requires", "OnFailure", "WantedBy"),
        *("TimeoutStartUSec", "TimeoutStopUSec", "Restart", "RestartUSec", "StartLimitBurst", "StartLimitIntervalUSec"),
        *("UnitFileState", "Description", "WatchdogUSec"),
    )
    assert its["Type"] == "simple"
    assert (its["User"], its["Group"], its["WorkingDirectory"]) == ("daemon", "games", "/srv/a %h")
    assert {"before.service", "network.target"} <= set(its["After"].split())
    assert "before.service" in its["Requires"].split()
    assert its["OnFailure"] == "helper.service"
    assert its["WantedBy"] == "multi-user.target"  # systemd tells of targets that it has loaded
    assert "graphical.target.wants" in await box.run("find /etc/systemd/system -name every.service")
    assert (its["TimeoutStartUSec"], its["TimeoutStopUSec"]) == ("1min 17s", "1min 17s")
    assert (its["Restart"], its["RestartUSec"]) == ("on-abnormal", "7s")
    assert (its["StartLimitBurst"], its["StartLimitIntervalUSec"]) == ("9", "55s")
    assert (its["UnitFileState"], its["Description"]) == ("enabled", "every")
    told = [line.message for line in await box.services.logs(box.me, box.machine, "every")]
    assert "\n".join(["daemon", "games", "/srv/a %h", *SECRET.split("\n"), "two", "three"]) in "\n".join(told)
    assert (await box.run("cat /tmp/every /tmp/before /tmp/needs /tmp/helper")).split() == [
        "one",
        "1",
        "2",
        "ran",
        "help",
    ]

    unending = await box.show("unending", "TimeoutStartUSec", "UnitFileState", "ActiveState", "WantedBy")
    assert unending == {
        "TimeoutStartUSec": "infinity", "UnitFileState": "disabled", "ActiveState": "active", "WantedBy": ""
    }  # fmt: skip
    assert (await box.show("before", "Type", "ActiveState", "RemainAfterExit")) == {
        "Type": "oneshot", "ActiveState": "active", "RemainAfterExit": "yes"
    }  # fmt: skip
    assert await box.active("again") == "inactive"
    assert (await box.show("falls", "NRestarts", "Result"))["Result"] in ("start-limit-hit", "exit-code")

    with pytest.raises(errors.NotFound):
        await box.active("gone")
    assert "could not be found" in await box.run("systemctl status gone 2>&1")
    left = await box.run(
        "find /etc/systemd /var/lib/hutch -name 'gone*'; grep -c gone /etc/systemd/system/needs-gone.service"
    )
    assert left.split() == ["/var/lib/hutch/succeeded/gone.service", "2"]  # After=, and what it was made of
    await box.make(oneshot("above", after=("gone",), requires=("gone",)))
    assert await box.finished("above") == {"above": (True, "active")}

    assert (await box.show("tells", "Type", "NotifyAccess", "ActiveState")) == {
        "Type": "notify", "NotifyAccess": "all", "ActiveState": "activating"
    }  # fmt: skip
    await box.run("echo go > /tmp/go")
    assert await box.finished("tells") == {"tells": (True, "active")}
    with pytest.raises(errors.GuestError, match=r"breaks.*has failed"):
        await box.services.wait_ready(box.me, box.machine, LIMIT)


async def test_services_are_patched_listed_told_of_and_removed(boxes: Callable[[str], Awaitable[Box]]) -> None:
    box = await boxes("debian")
    do, me, machine = box.services, box.me, box.machine
    await do.wait_ready(me, machine, LIMIT)
    assert await do.list(me, machine) == []
    await box.make(service("web", "sh -c 'echo $$GREETING; exec sleep 10000'", env={"GREETING": "hello", "X": "1"}))
    await box.make(service("other", wanted_by=("default.target",)))
    assert await do.list(me, machine) == ["other", "web"]
    for name in ("web", "systemd-journald", "dbus"):
        with pytest.raises(errors.Conflict, match=name):
            await box.make(service("fresh"), service(name))
    with pytest.raises(errors.NotFound):
        await do.status(me, machine, "fresh")

    await do.wait_ready(me, machine, LIMIT)
    status = await do.status(me, machine, "web.service")
    assert (status.name, status.active, status.sub, status.load) == ("web", "active", "running", "loaded")
    await do.patch(me, machine, UnitPatch("web", {"env": {"GREETING": "again"}, "wanted_by": ["sysinit.target"]}))
    await box.finished("web")
    said = [line.message for line in await do.logs(me, machine, "web")]
    assert [it for it in said if it in ("hello", "again")] == ["hello", "again"]
    its = await box.show("web", "Environment", "WantedBy")
    assert its == {"Environment": "GREETING=again", "WantedBy": "sysinit.target"}
    await do.patch(me, machine, UnitPatch("web", {"enable": False}))
    assert (await box.show("web", "UnitFileState"))["UnitFileState"] == "disabled"
    with pytest.raises(errors.GuestError, match=r"no-such-unit\.service not found"):
        await do.patch(me, machine, UnitPatch("web", {"requires": ["no-such-unit"]}))
    with pytest.raises(errors.GuestError, match=r"no-such-unit\.service not found"):
        await box.make(service("fresh"), service("vain", requires=("no-such-unit",)))
    assert await box.run("find /etc/systemd -name '*fresh*' -o -name '*vain*' -o -name '*.old' -o -name '*.new'") == ""
    assert (await box.show("web", "ActiveState"))["ActiveState"] == "active"

    await do.patch(me, machine, UnitPatch("systemd-user-sessions", {"env": {"A": "1"}, "timeout": 33}))
    await do.patch(me, machine, UnitPatch("systemd-user-sessions", {"env": {"B": "2"}, "after": ["web"]}))
    await box.finished("systemd-user-sessions")
    its = await box.show("systemd-user-sessions", "Environment", "TimeoutStopUSec", "ActiveState", "After")
    assert (its["Environment"], its["TimeoutStopUSec"], its["ActiveState"]) == ("B=2", "33s", "active")
    assert "web.service" in its["After"]
    assert await do.list(me, machine) == ["other", "web"]

    lines = await do.logs(me, machine, "web", lines=2)
    assert len(lines) == 2
    assert lines[0].at <= lines[1].at
    told = await do.logs(me, machine, "web")
    assert [(it.unit, it.priority) for it in told if it.message == "again"] == [("web", 6)] * 2
    assert await do.logs(me, machine, "web", since="2099-01-01T00:00:00Z") == []
    assert await do.logs(me, machine, "web", since="1 hour ago") != []
    for since in ("nonsense", "--help", "2026-13-45"):
        with pytest.raises(errors.InvalidRequest, match="since"):
            await do.logs(me, machine, "web", since=since)

    results = await do.stop(me, machine, ["web", "nope", "-x", "other"])
    assert [(it.name, it.is_done) for it in results] == [("web", True), ("nope", False), ("-x", False), ("other", True)]
    assert "not loaded" in results[1].message
    assert [await box.active(name) for name in ("web", "other")] == ["inactive", "inactive"]
    assert [it.is_done for it in await do.start(me, machine, ["web"])] == [True]
    pid = await box.show("web", "MainPID")
    assert [it.is_done for it in await do.restart(me, machine, ["web"])] == [True]
    assert await box.show("web", "MainPID") != pid

    await do.delete(me, machine, "web")
    for missing in (do.delete(me, machine, "web"), do.delete(me, machine, "dbus"), do.status(me, machine, "web"),
                    do.logs(me, machine, "web"), do.patch(me, machine, UnitPatch("web", {"timeout": 1}))):  # fmt: skip
        with pytest.raises(errors.NotFound):
            await missing
    assert await box.run("find /etc/systemd -name '*web*'; pgrep -x sleep") == ""
    assert await do.list(me, machine) == ["other"]
    assert [it for it in await box.control.processes.list(me, machine) if it.exit is None] == []


async def test_readiness_is_the_boots_and_that_of_services_that_say_when(
    boxes: Callable[[str], Awaitable[Box]],
) -> None:
    box = await boxes("debian")
    do, me, machine = box.services, box.me, box.machine
    slow = "sh -c 'mkfifo /run/go; read -r go < /run/go; systemd-notify --ready; exec sleep 10000'"
    await box.make(service("slow", slow, ready_signal=True), service("quick"), service("unwanted", enable=False))
    with pytest.raises(errors.TimedOut, match="slow"):
        await do.wait_ready(me, machine, 0.1)
    with pytest.raises(errors.TimedOut, match="slow"):
        await do.finished(me, machine, ["quick", "slow"], 0.1)
    await box.run("echo go > /run/go; sync")
    await do.wait_ready(me, machine, LIMIT)
    assert await box.active("slow") == "active"

    await box.control.machines.stop(me, machine)
    for look in (do.list(me, machine), do.status(me, machine, "slow"), do.wait_ready(me, machine, LIMIT)):
        with pytest.raises(errors.NotRunning):
            await look
    await box.control.machines.start(me, machine)
    with pytest.raises(errors.TimedOut, match=r"the boot|slow|looked at"):
        await do.wait_ready(me, machine, 0.1)
    await box.run("until test -p /run/go; do sleep 0.2; done; echo go > /run/go")
    await do.wait_ready(me, machine, LIMIT)
    assert [await box.active(name) for name in ("slow", "quick", "unwanted")] == ["active", "active", "inactive"]

    await box.control.machines.suspend(me, machine)
    with pytest.raises(errors.NotRunning):
        await do.logs(me, machine, "slow")
    assert [it.is_done for it in await do.stop(me, machine, ["slow"])] == [True]


async def test_an_image_without_systemd_says_so(boxes: Callable[[str], Awaitable[Box]], tools: str) -> None:
    box = await boxes(tools)
    do, me, machine = box.services, box.me, box.machine
    await do.wait_ready(me, machine, LIMIT)
    for call in (
        *(box.make(service("web")), do.patch(me, machine, UnitPatch("web", {})), do.list(me, machine)),
        *(do.delete(me, machine, "web"), do.status(me, machine, "web"), do.logs(me, machine, "web")),
        *(do.start(me, machine, ["web"]), do.stop(me, machine, ["web"]), do.restart(me, machine, ["web"])),
        do.finished(me, machine, ["web"], LIMIT),
    ):
        with pytest.raises(errors.Unsupported, match="systemd"):
            await call
