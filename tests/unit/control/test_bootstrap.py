"""Everything wired, over the simulated host; and the lock of a home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hutch import bootstrap, settings
from hutch.bootstrap import HomeLock
from hutch.control.machines import MachineRequest
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.model.states import State


def wanted(tmp_path: Path, database: str = "") -> settings.Settings:
    return settings.Settings(service=settings.Service(home=tmp_path / "home", database=database))


async def test_a_simulated_service_lives_a_life(tmp_path: Path) -> None:
    plane = bootstrap.build_simulated(wanted(tmp_path))
    await plane.open()
    token = await plane.keys.bootstrap()
    assert token is not None
    me = plane.keys.authenticate(token)
    machine = await plane.machines.create(me, MachineRequest("debian"))
    assert (await plane.machines.start(me, machine.id)).state is State.RUNNING
    await plane.machines.delete(me, machine.id)
    await plane.close()


async def test_the_first_start_gives_a_key_and_the_next_knows_it(tmp_path: Path) -> None:
    its = wanted(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/hutch.db")
    first = bootstrap.build_simulated(its)
    await first.open()
    token = await first.keys.bootstrap()
    await first.close()
    second = bootstrap.build_simulated(its)
    await second.open()
    assert token is not None
    assert second.keys.authenticate(token).scopes == {"admin"}
    assert await second.keys.bootstrap() is None
    await second.close()


async def test_a_second_service_on_the_same_home_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    first, second = (bootstrap.build_simulated(wanted(tmp_path)) for _ in range(2))
    await first.open()
    with pytest.raises(
        errors.Conflict, match=f"process {os.getpid()} already serves .*home: stop it, or set HUTCH_HOME"
    ):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


def test_a_service_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    lock = HomeLock(Paths(tmp_path))
    program = (
        "import os, signal, pathlib; from hutch.bootstrap import HomeLock; from hutch.host.paths import Paths;"
        f"HomeLock(Paths(pathlib.Path({str(tmp_path)!r}))).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    assert (tmp_path / "lock").read_text().strip().isdecimal()
    with lock:
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert (tmp_path / "lock").read_text() == ""


def test_a_home_is_its_owners_alone(tmp_path: Path) -> None:
    with HomeLock(Paths(tmp_path / "home")):
        assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "home" / "lock").stat().st_mode & 0o777 == 0o600
