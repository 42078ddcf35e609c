"""A machine's life on a real host."""

import asyncio
import contextlib
import json
import os
import platform
import shutil
import time
from pathlib import Path

import pytest

from hutch.host.interface import Life
from hutch.host.paths import Paths
from hutch.host.qemu import process
from hutch.model import errors, guest, ids
from hutch.model.machine import NetworkMode, NetworkPolicy
from machines import Launcher


async def test_a_machine_runs_a_kernel_of_its_own(vms: Launcher) -> None:
    machine = await vms.launch()
    assert (await machine.run("uname -s")).text == "Linux"
    assert (await machine.run("uname -r")).text != platform.release()


async def test_a_machine_has_the_cpus_and_the_memory_asked_for(vms: Launcher) -> None:
    machine = await vms.launch(cpus=2, memory=192)
    assert (await machine.run("nproc")).text == "2"
    total = int((await machine.run("awk '/MemTotal/{print $2}' /proc/meminfo")).text) // 1024
    assert 140 <= total <= 192


async def test_a_disk_is_as_large_as_asked_for(vms: Launcher) -> None:
    sizes = {}
    for disk in (2, 20, 50):
        machine = await vms.launch(disk=disk)
        sizes[disk] = int((await machine.run("df -k / | awk 'NR==2{print $2}'")).text) / 2**20
    assert 1.8 <= sizes[2] <= 2
    assert 18 <= sizes[20] <= 20
    assert 46 <= sizes[50] <= 50


async def test_a_stopped_machine_keeps_its_disk_and_loses_its_memory(vms: Launcher) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /kept && echo lost > /tmp/lost")
    await vms.host.stop(machine.id, grace=10)
    state = vms.host.get(machine.id)
    assert state is not None
    assert (state.life, state.pid) == (Life.STOPPED, None)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /kept && ls /tmp")).text == "kept"


async def test_a_machine_ended_by_force_keeps_what_it_had_synced(vms: Launcher) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /kept && sync")
    await vms.host.stop(machine.id, grace=0)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /kept")).text == "kept"


async def test_clones_of_one_template_are_told_apart(vms: Launcher) -> None:
    machines = await asyncio.gather(*(vms.launch(hostname=f"clone-{n}") for n in range(3)))
    for question in (
        "head -c 16 /dev/urandom | md5sum",
        "cat /etc/machine-id",
        "hostname",
        "cat /run/hutch/instance-id",
    ):
        answers = [(await machine.run(question)).text for machine in machines]
        assert len(set(answers)) == 3, question
        assert all(answers)


async def test_a_clone_knows_the_time_and_its_own_id(vms: Launcher) -> None:
    machine = await vms.launch()
    assert abs(float((await machine.run("date +%s")).text) - time.time()) < 3
    assert (await machine.run("echo $HUTCH_MACHINE_ID")).text == machine.id


async def test_a_first_use_at_once_boots_once(vms: Launcher, home: Path) -> None:
    machines = [await vms.create(memory=136) for _ in range(3)]
    recipe = json.dumps("memory_mib") + ": 136"
    for path in (home / "templates").glob("*/manifest.json"):
        if recipe in path.read_text():
            shutil.rmtree(path.parent)
    phases: list[str] = []
    await asyncio.gather(*(vms.host.start(machine.id, lambda p: phases.append(p.phase)) for machine in machines))
    made = [path for path in (home / "templates").glob("*/manifest.json") if recipe in path.read_text()]
    assert len(made) == 1
    assert "first boot" in phases
    assert [(await machine.run("echo up")).text for machine in machines] == ["up"] * 3


async def test_environment_workdir_and_command_of_a_machine_are_applied(vms: Launcher) -> None:
    machine = await vms.launch(env={"GREETING": "hé llo"}, workdir="/srv/here", command=("sh", "-c", "pwd; sleep 300"))
    assert (await machine.run("echo $GREETING; pwd")).text == "hé llo\n/srv/here"
    page = await vms.host.processes.read(machine.id, "main", 0, 0, wait=20)
    assert page.stdout == b"/srv/here\n"
    assert b"/srv/here\n" in (await vms.host.console(machine.id)).text


async def test_a_blocked_machine_reaches_nothing_outside(vms: Launcher) -> None:
    machine = await vms.launch(network=NetworkPolicy(NetworkMode.BLOCKED))
    result = await machine.run("wget -T 3 -q -O- http://10.0.2.2:1/", check=False, timeout=30)
    assert result.exit.code != 0


async def test_a_start_whose_caller_leaves_is_undone(vms: Launcher) -> None:
    machine = await vms.create()
    start = asyncio.ensure_future(vms.host.start(machine.id))
    while machine.host.get(machine.id).pid is None:  # type: ignore[union-attr]
        await asyncio.sleep(0)
    pid = machine.pid
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await start
    assert process.start_time(pid) is None
    await vms.host.start(machine.id)
    assert (await machine.run("echo up")).text == "up"


@pytest.mark.parametrize("verb", ["stop", "destroy"])
async def test_ending_a_machine_interrupts_its_start(vms: Launcher, verb: str) -> None:
    machine = await vms.create()
    start = asyncio.ensure_future(vms.host.start(machine.id))
    while machine.host.get(machine.id).pid is None:  # type: ignore[union-attr]
        await asyncio.sleep(0)
    await (vms.host.stop(machine.id, 5) if verb == "stop" else vms.host.destroy(machine.id))
    with pytest.raises(errors.Conflict):
        await start


async def test_what_has_no_machine_or_no_process_is_refused(vms: Launcher) -> None:
    machine = await vms.create()
    with pytest.raises(errors.NotRunning):
        await machine.run("true")
    with pytest.raises(errors.NotFound):
        await vms.host.processes.list("nobody")  # type: ignore[arg-type]


async def test_more_cpus_than_the_emulator_runs_fail_with_its_words(vms: Launcher) -> None:
    machine = await vms.create(cpus=4000)
    with pytest.raises(errors.MachineFailed, match="QEMU says"):
        await vms.host.start(machine.id)


async def test_every_process_is_confined(vms: Launcher) -> None:
    one, other = await vms.launch(), await vms.launch()
    status = {}
    for machine in (one, other):
        lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
        status[machine.id] = dict(line.split(":\t", 1) for line in lines)
    uids = {entry["Uid"].split()[0] for entry in status.values()}
    assert len(uids) == 2
    assert "0" not in uids
    for entry in status.values():
        assert entry["NoNewPrivs"].strip() == "1"
        assert entry["Seccomp"].strip() == "2"
        assert int(entry["CapEff"], 16) == int(entry["CapBnd"], 16) == 0


async def test_a_machine_holds_nothing_of_another_and_no_descriptor_of_the_service(vms: Launcher) -> None:
    one, other = await vms.launch(), await vms.launch()
    opened = [os.readlink(f"/proc/{other.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{other.pid}/fd")]
    assert not [path for path in opened if one.id in path or path.endswith((".db", "/lock"))]


async def test_output_of_any_size_comes_whole(vms: Launcher) -> None:
    machine = await vms.launch()
    result = await machine.run("seq 1 400000; seq 1 1000 >&2")
    assert result.stdout == b"".join(b"%d\n" % n for n in range(1, 400001))
    assert result.stderr == b"".join(b"%d\n" % n for n in range(1, 1001))


async def test_a_timeout_kills_the_whole_group(vms: Launcher) -> None:
    machine = await vms.launch()
    result = await machine.run("sleep 1000 & sleep 1000", check=False, timeout=0.5)
    assert result.exit == guest.Exit(code=result.exit.code, signal=result.exit.signal, timed_out=True)
    assert (await machine.run("pgrep sleep || echo none")).text == "none"


async def test_a_disk_that_was_made_larger_while_the_machine_was_stopped(vms: Launcher) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /file; sync")
    for size in (30, 40):
        await vms.host.stop(machine.id, grace=5)
        await vms.host.resize(machine.id, size)
        await vms.host.start(machine.id)
        told = (await machine.run("cat /file; df -k / | tail -1 | awk '{print $2}'")).text.split()
        assert told[0] == "kept"
        assert int(told[1]) > (size - 3) * 2**20
        await vms.host.snapshot(machine.id, ids.new_snapshot_id())


async def test_a_machine_with_other_cpus_and_memory_boots_from_its_own_disk_and_needs_no_template_for_it(
    vms: Launcher, home: Path
) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /kept")
    await vms.host.suspend(machine.id)
    templates = {it.name for it in Paths(home).templates.iterdir()}
    for cpus, memory in ((2, 320), (1, 96)):
        if vms.host.get(machine.id).life is Life.RUNNING:  # type: ignore[union-attr]
            await vms.host.stop(machine.id, grace=10)
        await vms.host.reshape(machine.id, cpus, memory)
        await vms.host.start(machine.id)
        told = (await machine.run("cat /kept; nproc; awk '/MemTotal/{print $2}' /proc/meminfo")).text.split()
        assert told[:2] == ["kept", str(cpus)]
        assert memory - 60 <= int(told[2]) // 1024 <= memory
    assert {it.name for it in Paths(home).templates.iterdir()} == templates
    await vms.host.suspend(machine.id)
    await vms.host.start(machine.id)
    assert (await machine.run("nproc")).text == "1"
