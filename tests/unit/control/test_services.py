"""Services: what is done in a guest for each call, by a script whose systemctl only notes what it is asked."""

import asyncio
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hutch.control import asking, follower, systemctl, units
from hutch.control import services as module
from hutch.control.services import Services
from hutch.control.systemctl import JournalLine, Standing
from hutch.model import errors
from hutch.model.guest import Output
from hutch.model.ids import MachineId
from hutch.model.recipes import Unit, UnitMode, UnitPatch
from hutch.model.states import State
from unit.control.rig import Rig

FAKE = """\
#!/bin/sh
echo "$*" >> calls
case "$*" in *--property=SystemState) cat system; exit;; show*) cat shown; exit;; esac
[ ! -e "fails-$1" ] || { echo "Failed to $1: $(cat "fails-$1")" >&2; exit 5; }
"""
UNITS = "etc/systemd/system"
LIMIT = 60.0


class Guest:
    """A simulated machine with a systemd of which there is nothing but its files and the words in `system`, `shown`."""

    def __init__(self, rig: Rig, machine: MachineId) -> None:
        self.rig, self.machine = rig, machine
        self.root: Path = rig.world.machines[machine].root
        for directory in ("bin", "run/systemd/system", UNITS, "usr/lib/systemd/system"):
            (self.root / directory).mkdir(parents=True)
        self.write("system", "SystemState=running\n")
        self.write("shown", "")
        for name in ("systemctl", "journalctl"):
            self.write(f"bin/{name}", FAKE if name == "systemctl" else "#!/bin/sh\necho $0 $* >> calls; cat journal\n")
            (self.root / "bin" / name).chmod(0o755)

    @property
    def do(self) -> Services:
        return self.rig.plane.services

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def calls(self) -> list[str]:
        """Since it was last asked."""
        file = self.root / "calls"
        calls = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return calls

    def units(self) -> set[str]:
        top = self.root / UNITS
        return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}

    async def create(self, *its: Unit) -> None:
        await self.do.create(self.rig.me, self.machine, *its)


@pytest.fixture
async def guest(rig: Rig) -> Guest:
    return Guest(rig, await rig.launch(env={"PATH": "bin:/usr/bin:/bin"}))


def unit(name: str = "web", **fields: object) -> Unit:
    return Unit(name, UnitMode.SERVICE, ("run",), **fields)  # type: ignore[arg-type]


async def test_services_are_written_linked_and_started_at_once(guest: Guest) -> None:
    await guest.create(unit(env={"A": "secret"}), unit("db", wanted_by=("x.target",)), unit("off", enable=False))
    assert guest.units() == {
        *("web.service", "multi-user.target.wants/web.service", "db.service", "x.target.wants/db.service"),
        "off.service",
    }
    assert guest.calls() == ["start --no-block -- web.service db.service off.service"]
    file = guest.root / UNITS / "web.service"
    assert 'Environment="A=secret"' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    assert (guest.root / UNITS / "multi-user.target.wants/web.service").resolve() == file.resolve()
    assert await guest.do.list(guest.rig.me, guest.machine) == ["db", "off", "web"]


async def test_the_longest_name_that_is_taken_can_be_written_and_changed(guest: Guest) -> None:
    name = "a" * units.NAME_LENGTH
    await guest.create(unit(name))
    await guest.do.patch(guest.rig.me, guest.machine, UnitPatch(name, {"timeout": 5}))
    assert "TimeoutStartSec=5" in (guest.root / UNITS / f"{name}.service").read_text()
    with pytest.raises(errors.Flawed, match="too long"):
        await guest.create(unit(f"{name}a"))


@pytest.mark.parametrize("there", [f"{UNITS}/db.service", "usr/lib/systemd/system/db.service"])
async def test_of_services_one_of_which_is_there_none_is_made(guest: Guest, there: str) -> None:
    guest.write(there, "[Unit]\n")
    before = guest.units()
    with pytest.raises(errors.Conflict, match="already a service db"):
        await guest.create(unit(), unit("db"))
    assert guest.units() == before
    assert guest.calls() == []


async def test_a_service_that_systemd_refuses_is_not_there(guest: Guest) -> None:
    guest.write("fails-start", "Unit x.service not found.")
    with pytest.raises(errors.GuestError, match=r"web, db could not be made: .*Unit x.service not found"):
        await guest.create(unit(), unit("db"))
    assert guest.units() == set()
    assert guest.calls()[-2:] == ["stop --no-block -- web.service db.service", "daemon-reload"]


async def test_what_was_removed_after_success_is_required_no_more_until_it_is_made_again(guest: Guest) -> None:
    succeeded = guest.root / "var/lib/hutch/succeeded"
    succeeded.mkdir(parents=True)
    (succeeded / "gone.service").touch()
    (succeeded / "old.service").touch()
    await guest.create(unit(requires=("gone", "db"), after=("gone",)), unit("old"))
    lines = (guest.root / UNITS / "web.service").read_text().splitlines()
    assert [line for line in lines if line.startswith(("Requires", "After"))] == [
        *("After=gone.service", "Requires=db.service")
    ]
    assert [it.name for it in succeeded.iterdir()] == ["gone.service"]


async def test_a_service_made_here_is_written_anew_when_it_is_changed(guest: Guest) -> None:
    await guest.create(unit(env={"A": "1"}, user="me"))
    guest.calls()
    await guest.do.patch(guest.rig.me, guest.machine, UnitPatch("web", {"env": {"B": "2"}, "wanted_by": ["x.target"]}))
    text = (guest.root / UNITS / "web.service").read_text()
    assert ('Environment="B=2"' in text, 'Environment="A=1"' in text, "User=me" in text) == (True, False, True)
    assert guest.units() == {"web.service", "x.target.wants/web.service"}
    assert guest.calls() == ["daemon-reload", "try-restart --no-block -- web.service"]
    guest.write("fails-try-restart", "no.")
    with pytest.raises(errors.GuestError, match="could not be changed: Failed to try-restart: no"):
        await guest.do.patch(guest.rig.me, guest.machine, UnitPatch("web", {"wanted_by": ["y.target"]}))
    assert (guest.root / UNITS / "web.service").read_text() == text
    assert guest.units() == {"web.service", "x.target.wants/web.service"}


async def test_a_service_of_the_image_is_changed_by_what_is_laid_over_it(guest: Guest) -> None:
    guest.write("usr/lib/systemd/system/nginx.service", "[Service]\nExecStart=nginx\n")
    for changes in ({"env": {"A": "1"}}, {"user": "me", "enable": False}):
        await guest.do.patch(guest.rig.me, guest.machine, UnitPatch("nginx", changes))
    assert guest.units() == {"nginx.service.d/hutch.conf"}
    text = (guest.root / UNITS / "nginx.service.d/hutch.conf").read_text()
    assert ('Environment="A=1"' in text, "User=me" in text) == (True, True)
    assert "--quiet disable -- nginx.service" in guest.calls()
    assert await guest.do.list(guest.rig.me, guest.machine) == []
    with pytest.raises(errors.NotFound):
        await guest.do.delete(guest.rig.me, guest.machine, "nginx")
    with pytest.raises(errors.NotFound):
        await guest.do.patch(guest.rig.me, guest.machine, UnitPatch("apache", {"user": "me"}))


async def test_changes_made_at_once_are_all_there(guest: Guest) -> None:
    await guest.create(unit())
    changes = ({"user": "me"}, {"group": "us"}, {"timeout": 5}, {"workdir": "/srv"})
    patches = (guest.do.patch(guest.rig.me, guest.machine, UnitPatch("web", it)) for it in changes)
    await asyncio.gather(*patches)
    text = (guest.root / UNITS / "web.service").read_text()
    assert all(line in text for line in ("User=me", "Group=us", "TimeoutStopSec=5", "WorkingDirectory=/srv"))


async def test_a_service_that_is_deleted_is_stopped_and_leaves_nothing(guest: Guest) -> None:
    await guest.create(unit())
    guest.calls()
    await guest.do.delete(guest.rig.me, guest.machine, "web")
    assert guest.units() == set()
    assert guest.calls() == ["stop -- web.service", "reset-failed -- web.service", "daemon-reload"]
    with pytest.raises(errors.NotFound, match="service web not found"):
        await guest.do.delete(guest.rig.me, guest.machine, "web")


async def test_each_of_a_batch_has_its_own_result(guest: Guest) -> None:
    guest.write("fails-stop", "Unit not loaded.")
    start = await guest.do.start(guest.rig.me, guest.machine, ["web", "db.service", "-x"])
    assert [(it.name, it.is_done) for it in start] == [("web", True), ("db.service", True), ("-x", False)]
    assert "begins with" in start[2].message
    assert sorted(guest.calls()) == ["start -- db.service", "start -- web.service"]
    (stop,) = await guest.do.stop(guest.rig.me, guest.machine, ["web"])
    assert (stop.is_done, stop.message) == (False, "Failed to stop: Unit not loaded.")
    assert await guest.do.restart(guest.rig.me, guest.machine, []) == []
    with pytest.raises(errors.InvalidRequest, match="at most"):
        await guest.do.start(guest.rig.me, guest.machine, ["x"] * 101)


async def test_what_takes_long_goes_on(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_LIMIT", 0.2)
    guest.write("bin/systemctl", "#!/bin/sh\nexec sleep 1000\n")
    (result,) = await guest.do.start(guest.rig.me, guest.machine, ["web"])
    assert (result.is_done, "goes on" in result.message) == (True, True)


async def test_a_status_is_in_systemds_words(guest: Guest) -> None:
    guest.write("shown", "Description=A=B\nLoadState=loaded\nActiveState=active\nSubState=running\n")
    status = await guest.do.status(guest.rig.me, guest.machine, "web.service")
    assert (status.name, status.active, status.sub, status.load) == ("web", "active", "running", "loaded")
    assert status.description == "A=B"
    guest.write("shown", "LoadState=not-found\nActiveState=inactive\n")
    with pytest.raises(errors.NotFound):
        await guest.do.status(guest.rig.me, guest.machine, "web")


def entry(message: object, **fields: str) -> str:
    return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": "1700000000500000", **fields})


async def test_a_guest_that_answers_nothing_at_once_keeps_nobody_busy(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, processes = [], guest.rig.plane.core.fleet.host.processes

    async def read(*its: object, wait: float) -> Output:
        asked.append(its)
        await asyncio.sleep(0)
        return Output(b"", 0, b"", 0)

    monkeypatch.setattr(processes, "read", read)
    answer = await asking.ask(processes, guest.machine, ("sleep", "1000"), 0.2)
    assert answer.exit is None
    assert len(asked) <= 0.2 / follower.QUICK + 2


def test_a_journal_has_no_half_characters() -> None:
    (line,) = systemctl.journal(entry("a\ud800b", UNIT="\udfff.service").encode())
    assert (line.message, line.unit) == ("a?b", "?")


async def test_a_journal_is_told_oldest_first(guest: Guest) -> None:
    await guest.create(unit())
    guest.calls()
    newest = entry("two", PRIORITY="3", _SYSTEMD_UNIT="web.service")
    guest.write("journal", "\n".join([newest, "nonsense", entry([104, 105], UNIT="web.service", _SYSTEMD_UNIT="init")]))
    at = datetime.fromtimestamp(1700000000.5, UTC)
    assert await guest.do.logs(guest.rig.me, guest.machine, "web", 5, "2026-01-01T00:00:00+01:00") == [
        JournalLine("hi", at, None, "web"),
        JournalLine("two", at, 3, "web"),
    ]
    (call,) = guest.calls()
    assert call.endswith("--lines=5 --since=@1767222000.000000")
    with pytest.raises(errors.NotFound):
        await guest.do.logs(guest.rig.me, guest.machine, "db")


@pytest.mark.parametrize(("lines", "since"), [(-1, None), (1, "a\nb"), (1, "x" * 101)])
async def test_a_journal_of_no_moment_is_refused(guest: Guest, lines: int, since: str | None) -> None:
    with pytest.raises(errors.InvalidRequest):
        await guest.do.logs(guest.rig.me, guest.machine, "web", lines, since)


@pytest.mark.parametrize("since", ["yesterday", "-5min", "2026-01-01", "2026-01-01 00:00:00", "--help"])
def test_what_journalctl_knows_is_left_to_it(since: str) -> None:
    assert systemctl.moment(since) == since


def shown(name: str, active: str, load: str = "loaded", result: str = "success", job: str = "", left: int = 0) -> str:
    return (
        f"Id={name}.service\nLoadState={load}\nActiveState={active}\nResult={result}\nJob={job}\n"
        f"InactiveEnterTimestampMonotonic={left}\n"
    )


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        (shown("a", "active"), Standing.RUNS),
        (shown("a", "inactive", left=5), Standing.ENDED),
        (shown("a", "inactive"), Standing.INACTIVE),
        (shown("a", "inactive", job="7"), Standing.UNDER_WAY),
        (shown("a", "activating"), Standing.UNDER_WAY),
        (shown("a", "activating", load="not-found"), Standing.UNDER_WAY),
        (shown("a", "failed", result="exit-code"), Standing.FAILED),
        (shown("a", "inactive", result="timeout", left=5), Standing.FAILED),
        (shown("a", "inactive", load="not-found"), Standing.ABSENT),
        (shown("gone", "inactive", load="not-found"), Standing.ENDED),
        ("", Standing.ABSENT),
        ("\xff=\n=\n", Standing.ABSENT),
    ],
)
def test_where_a_service_stands(told: str, standing: Standing) -> None:
    name = "gone.service" if "Id=gone" in told else "a.service"
    states = systemctl.states(f"SystemState=degraded\n+gone.service\n\n{told}", (name,))
    assert states.units[name][0] is standing
    assert states.has_booted


async def test_what_was_ready_is_not_asked_again_until_its_services_change(guest: Guest) -> None:
    do, me, machine = guest.do, guest.rig.me, guest.machine
    for change in (
        lambda: guest.create(unit()),
        lambda: do.patch(me, machine, UnitPatch("web", {"timeout": 5})),
        lambda: do.restart(me, machine, ["web"]),
    ):
        await do.wait_ready(me, machine, LIMIT)
        assert "show --property=SystemState" in guest.calls()
        await do.wait_ready(me, machine, LIMIT)
        assert guest.calls() == []
        await change()
        guest.calls()
    await do.wait_ready(me, machine, LIMIT)
    assert "show --property=SystemState" in guest.calls()


async def test_a_guest_is_ready_when_its_boot_and_all_made_here_have_finished(guest: Guest) -> None:
    do, me, machine = guest.do, guest.rig.me, guest.machine
    guest.write("system", "SystemState=starting\n")
    with pytest.raises(errors.TimedOut, match=r"the boot \(starting\)"):
        await do.wait_ready(me, machine, 0)
    await guest.create(unit(), unit("db"))
    guest.write("shown", shown("web", "activating") + "\n" + shown("db", "active"))
    guest.write("system", "SystemState=running\n")
    with pytest.raises(errors.TimedOut, match=r": web$"):
        await do.wait_ready(me, machine, 0)
    waiting = asyncio.create_task(do.wait_ready(me, machine, 30))
    await asyncio.sleep(0)
    guest.write("shown", shown("web", "active") + "\n" + shown("db", "inactive"))
    await waiting
    await do.restart(me, machine, ["web"])
    guest.write("shown", shown("web", "failed", result="exit-code") + "\n" + shown("db", "activating"))
    guest.write("journal", entry("it burns"))
    with pytest.raises(errors.GuestError, match=r"service web has failed \(exit-code\):\nit burns"):
        await do.wait_ready(me, machine, 30)


async def test_an_error_about_a_guest_is_short_whatever_it_says(guest: Guest) -> None:
    await guest.create(unit())
    told = shown("x" * 200, "activating")
    guest.write("shown", "\n".join(told.replace("Id=", f"Id={n}") for n in range(100)))
    with pytest.raises(errors.HutchError) as caught:
        await guest.do.wait_ready(guest.rig.me, guest.machine, 0)
    assert len(caught.value.message) < 10_000


async def test_a_guest_that_does_not_answer_yet_is_waited_for(guest: Guest) -> None:
    guest.write("system", "SystemState=starting\n")
    guest.write("bin/systemctl", "#!/bin/sh\n[ -e up ] || { touch asked; exit 1; }\n" + FAKE)
    with pytest.raises(errors.GuestError):
        await guest.do.wait_ready(guest.rig.me, guest.machine, 0)
    (guest.root / "asked").unlink()
    waiting = asyncio.create_task(guest.do.wait_ready(guest.rig.me, guest.machine, LIMIT))
    await there(guest.root / "asked")
    guest.write("system", "SystemState=running\n")
    guest.write("up", "")
    await waiting


async def test_a_guest_in_the_first_moments_of_its_boot_has_systemd(guest: Guest) -> None:
    systemd = guest.root / "usr/lib/systemd/systemd"
    systemd.touch(mode=0o755)
    (guest.root / "sbin").mkdir()
    (guest.root / "sbin/init").symlink_to("../usr/lib/systemd/systemd")
    (guest.root / "run/systemd/system").rmdir()
    guest.write("bin/sleep", "#!/bin/sh\ntouch slept\nexec /bin/sleep $1\n")
    (guest.root / "bin/sleep").chmod(0o755)
    looking = asyncio.create_task(guest.do.list(guest.rig.me, guest.machine))
    await there(guest.root / "slept")
    (guest.root / "run/systemd/system").mkdir()
    os.mknod(guest.root / "run/systemd/private", stat.S_IFSOCK | 0o600)
    assert await looking == []


async def there(path: Path) -> None:
    """Wait until there is such a file."""
    async with asyncio.timeout(LIMIT):
        while not path.exists():
            await asyncio.sleep(0.01)


async def test_what_is_finished_is_told_of_each(guest: Guest) -> None:
    do, me, machine = guest.do, guest.rig.me, guest.machine
    await guest.create(unit(), unit("db"))
    (guest.root / "var/lib/hutch/succeeded").mkdir(parents=True)
    (guest.root / "var/lib/hutch/succeeded/gone.service").touch()
    words = [shown("web", "failed", result="exit-code"), shown("gone", "inactive", load="not-found"),
             shown("db", "inactive"), shown("no", "inactive", load="not-found")]  # fmt: skip
    guest.write("shown", "\n".join(words))
    guest.write("journal", entry("wrong"))
    results = await do.finished(me, machine, ["web", "gone", "db", "no"], 30)
    assert [(it.name, it.is_done) for it in results] == [("web", False), ("gone", True), ("db", True), ("no", False)]
    assert results[0].message == "exit-code\nwrong"
    guest.write("shown", shown("db", "inactive"))
    told = ("Job db.service/start failed with result", "Dependency failed for db.service - db.", "Starting db.service")
    guest.write("journal", "\n".join(map(entry, told)))
    (result,) = await do.finished(me, machine, ["db"], 30)
    assert (result.is_done, result.message) == (False, "it was not started: something that it requires has failed")
    assert await do.finished(me, machine, [], 30) == []
    guest.write("shown", shown("web", "inactive", job="5"))
    with pytest.raises(errors.TimedOut, match="web"):
        await do.finished(me, machine, ["web"], 0)


async def test_looking_wakes_nothing_is_no_use_and_leaves_no_process(guest: Guest) -> None:
    rig, machine = guest.rig, guest.machine
    before = rig.get(machine).last_activity_at
    rig.clock.advance(10)
    assert await guest.do.list(rig.me, machine) == []
    assert rig.get(machine).last_activity_at == before
    assert await rig.plane.processes.list(rig.me, machine) == []
    await rig.plane.machines.suspend(rig.me, machine)
    with pytest.raises(errors.NotRunning):
        await guest.do.list(rig.me, machine)
    assert rig.state(machine) is State.SUSPENDED
    await guest.create(unit())
    assert rig.state(machine) is State.RUNNING


async def test_only_those_who_may_look_look_and_only_those_who_may_run_change(guest: Guest) -> None:
    do, machine = guest.do, guest.machine
    reader, runner = await guest.rig.someone("machine:read"), await guest.rig.someone("machine:exec")
    stranger = await guest.rig.someone(tenant="other")
    assert await do.list(reader, machine) == []
    await do.create(runner, machine, unit())
    for call in (do.create(reader, machine, unit("x")), do.delete(reader, machine, "web"),
                 do.patch(reader, machine, UnitPatch("web", {})), do.start(reader, machine, ["web"]),
                 do.list(runner, machine), do.wait_ready(runner, machine, 1)):  # fmt: skip
        with pytest.raises(errors.Forbidden):
            await call
    for call in (do.create(stranger, machine, unit("x")), do.status(stranger, machine, "web")):
        with pytest.raises(errors.NotFound):
            await call


async def test_a_machine_without_systemd_or_without_a_shell_says_so(rig: Rig) -> None:
    for path in ("/usr/bin:/bin", "/nowhere"):
        machine = await rig.launch(env={"PATH": path})
        do = rig.plane.services
        await do.wait_ready(rig.me, machine, 1)
        for call in (do.create(rig.me, machine, unit()), do.list(rig.me, machine), do.stop(rig.me, machine, ["web"])):
            with pytest.raises(errors.Unsupported, match="init is not systemd"):
                await call


@pytest.mark.parametrize(
    "its", [(unit("a"), unit("a.service")), (unit("a b"),), tuple(map(unit, map(str, range(101))))]
)
async def test_services_that_cannot_be_are_refused(guest: Guest, its: tuple[Unit, ...]) -> None:
    with pytest.raises(errors.InvalidRequest):
        await guest.create(*its)
    assert guest.units() == set()
