"""The SDK, as a program uses it. The sync client is made of the async one, so one of each kind of call is enough."""

import pytest

import live
from hutch.client import AsyncHutch, Command, Hutch, NewMachine, errors, models


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
