"""The SDK, as a program uses it. The sync client is made of the async one, so one of each kind of call is enough."""

import asyncio

import pytest

import live
from hutch.client import AsyncHutch, Command, Hutch, Layer, Mount, NewMachine, Recipe, builds, errors, models, recipes


def test_a_day_with_the_sync_client(service: live.Live) -> None:
    with Hutch(service.url, service.key) as hutch:
        assert hutch.health().ready
        machine = hutch.machines.create(NewMachine("debian", name="sync", labels={"a": "b"}, memory_mb=128))
        assert (machine.state, machine.memory_mb, machine.labels) == ("stopped", 128, {"a": "b"})
        assert hutch.machines.start("sync").ready
        done = hutch.processes.run(machine.id, Command("cat; exit 3", stdin=b"\0\xff"))
        assert (done.stdout, done.exit_code, done.truncated) == (b"\0\xff", 3, False)
        hutch.files.write("sync", "/workspace/a b", iter([b"one ", b"two"]), mode=0o600)
        assert b"".join(hutch.files.read("sync", "/workspace/a b")) == b"one two"
        process = hutch.processes.start("sync", Command("echo out; sleep 1000"))
        assert hutch.processes.output("sync", process, wait=5).stdout == b"out\n"
        hutch.processes.signal("sync", process, "KILL")
        hutch.processes.forget("sync", process)
        assert hutch.processes.list("sync") == []
        assert [it.id for it in hutch.machines.list({"a": "b"})] == [machine.id]
        hutch.machines.delete("sync")


def test_a_name_of_dots_is_a_name(service: live.Live) -> None:
    with Hutch(service.url, service.key) as hutch:
        hutch.machines.create(NewMachine("debian", name="dots"))
        with pytest.raises(errors.NotFound):
            hutch.sessions.delete("dots", "..")
        hutch.files.write("dots", "/workspace/../../ports", b'{"ports": [{"port": 80}]}')
        assert b"".join(hutch.files.read("dots", "/ports")) == b'{"ports": [{"port": 80}]}'
        assert hutch.machines.get("dots").ports == []
        hutch.machines.delete("dots")


async def test_a_day_with_the_async_client(service: live.Live) -> None:
    async with AsyncHutch(service.url, service.key) as hutch:
        machine = await hutch.machines.create(NewMachine("debian", name="async"))
        told = [event async for event in hutch.processes.stream(machine.id, Command("echo out; exit 4"))]
        assert isinstance(told[0], models.Started)
        assert told[1:] == [models.Output("stdout", b"out\n"), models.Exited(4)]
        await hutch.files.write("async", "/workspace/x", b"data")
        assert b"".join([chunk async for chunk in hutch.files.read("async", "/workspace/x")]) == b"data"
        assert [event.level for event in await hutch.machines.events("async")]
        assert isinstance(await hutch.machines.logs("async"), str)
        *_, image = [it async for it in hutch.images.pull("debian")]
        assert isinstance(image, models.Image)
        id, key = await hutch.keys.create(["machine:read"], description="sdk")
        assert key.startswith("smk_")
        assert "sdk" in {it.description for it in await hutch.keys.list()}
        await hutch.keys.revoke(id)
        await hutch.machines.delete("async")


async def test_what_lasts_with_the_async_client(service: live.Live) -> None:
    async with AsyncHutch(service.url, service.key) as hutch:
        volume = await hutch.volumes.create("sdk-data", 1)
        wanted = NewMachine("debian", name="lasting", mounts=[Mount("sdk-data", "/data")], metadata={"a": [1]})
        made = [await hutch.machines.create(wanted, once="sdk") for _ in range(2)]
        assert made[0].id == made[1].id
        assert (made[0].mounts, made[0].metadata) == ([Mount(volume.id, "/data")], {"a": [1]})
        assert (await hutch.volumes.get("sdk-data")).machines == [made[0].id]
        session = await hutch.sessions.create("lasting", env={"A": "b"})
        told = [event async for event in hutch.sessions.stream("lasting", session.id, Command("echo $A"))]
        assert told[1:] == [models.Output("stdout", b"b\n"), models.Exited(0)]
        job = await hutch.jobs.start("lasting", Command("echo out; sleep 1000"))
        while not (await hutch.jobs.get("lasting", job.id)).stdout_bytes:
            await asyncio.sleep(0.02)
        assert (await hutch.jobs.cancel("lasting", job.id)).exit_code == 143
        assert (await hutch.jobs.output("lasting", job.id)).data == b"out\n"
        async with hutch.terminals.open("lasting", ["sh", "-c", "read x; echo got $x; exit 3"], (90, 20)) as terminal:
            await terminal.write(b"this\n")
            shown = b""
            while isinstance(told_next := await terminal.read(), bytes):
                shown += told_next
            assert b"got this" in shown
            assert told_next == models.Exited(3)
        assert (await hutch.machines.set_timers("lasting", models.Timers(auto_stop_seconds=9))).auto_stop_seconds == 9
        assert made[0].id in [it.id async for it in hutch.machines.pages(size=1)]
        assert (await hutch.usage.of_machine("lasting")).execs >= 1
        async for event in hutch.events.follow("lasting"):
            if event.kind == "machine.started":
                break
        await hutch.machines.delete("lasting")
        await hutch.volumes.delete("sdk-data")


async def test_a_build_with_the_async_client(service: live.Live) -> None:
    async with AsyncHutch(service.url, service.key) as hutch:
        layer = Layer(files=[recipes.File("/workspace/x", b"x")], discriminator="sdk")
        begun = await hutch.builds.create(Recipe(layers=[layer], name="of-the-sdk"))
        told = [event async for event in hutch.builds.follow(begun.id)]
        assert [it for it in told if isinstance(it, builds.Phase)] == await hutch.builds.phases(begun.id)
        done = await hutch.builds.wait(begun.id)
        assert (done.state, told[-1]) == ("succeeded", done)
        made = await hutch.snapshots.get("of-the-sdk")
        assert (made.id, made.build, made.persistence) == (done.snapshot, done.id, "persistent")
        assert done.id in [it.id for it in await hutch.builds.list()]
        machine = await hutch.machines.create(NewMachine(snapshot="of-the-sdk", name="built"))
        assert b"".join([piece async for piece in hutch.files.read("built", "/workspace/x")]) == b"x"
        assert (await hutch.watching.stats("built")).memory_total > 0
        assert (await hutch.machines.optimize("built")).state_detail == "suspended"
        assert (await hutch.machines.kill("built")).state == "stopped"
        assert (await hutch.machines.resize("built", cpus=2)).cpus == 2
        renamed = await hutch.snapshots.rename("of-the-sdk", "of-us")
        for ended in (hutch.machines.delete(machine.id), hutch.snapshots.delete(renamed.id)):
            await ended


def test_an_error_is_typed_and_has_the_servers_text_and_request_id(service: live.Live) -> None:
    with (
        Hutch(service.url, service.key) as hutch,
        pytest.raises(errors.NotFound, match=r"^machine not found$") as caught,
    ):
        hutch.machines.get("no-such-machine")
    assert caught.value.status == 404
    assert caught.value.request_id
    with Hutch(service.url, "smk_wrong") as hutch, pytest.raises(errors.Unauthorized, match="unknown API key"):
        hutch.machines.list()
    with Hutch("http://127.0.0.1:9", "x") as hutch, pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9"):
        hutch.machines.list()


def test_a_key_is_in_no_representation(service: live.Live) -> None:
    with Hutch(service.url, service.key) as hutch:
        assert service.key not in repr(hutch)
