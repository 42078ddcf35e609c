"""Files in guests are moved, given away, found, searched and watched."""

import asyncio
import contextlib

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.model import errors
from hutch.model.guest import ChangeKind, FileKind
from hutch.model.ids import MachineId


async def watch(rig: Rig, machine: MachineId, act: str, *wanted: tuple[ChangeKind, str]) -> None:
    """Watch /root while a line of shell is run again and again, until all of this was told."""
    missing = {(kind, f"/root/{name}") for kind, name in wanted}

    async def read() -> None:
        async with contextlib.aclosing(rig.host.files.watch(machine, "/root", recursive=True)) as changes:
            async for change in changes:
                missing.discard((change.kind, change.path))

    reading = asyncio.create_task(read())
    async with asyncio.timeout(30):
        while missing:
            await use.run(rig, machine, act, cwd="/root")
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


class LookingSuite:
    async def test_a_file_is_renamed_and_replaces_another(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/a", b"new")
        await use.put(rig, machine, "/root/b", b"old")
        await rig.host.files.rename(machine, "/root/a", "/root/b")
        assert await use.get(rig, machine, "/root/b") == b"new"
        with pytest.raises(errors.GuestNotFound, match="/root/a"):
            await rig.host.files.rename(machine, "/root/a", "/root/c")
        with pytest.raises(errors.GuestError, match="/root/no/c"):
            await rig.host.files.rename(machine, "/root/b", "/root/no/c")

    async def test_mode_and_owner_are_changed(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/a", b"")
        await rig.host.files.change(machine, "/root/a", 0o640, "1234:77")
        stat = await rig.host.files.stat(machine, "/root/a")
        assert (stat.mode, stat.uid, stat.gid) == (0o640, 1234, 77)
        await rig.host.files.change(machine, "/root/a", None, "root")
        stat = await rig.host.files.stat(machine, "/root/a")
        assert (stat.mode, stat.uid, stat.gid) == (0o640, 0, 77)
        for mode, owner in ((None, None), (None, "nobody-knows")):
            with pytest.raises(errors.GuestError):
                await rig.host.files.change(machine, "/root/a", mode, owner)
        with pytest.raises(errors.GuestNotFound):
            await rig.host.files.change(machine, "/root/missing", 0o600, None)

    async def test_files_are_found_by_pattern_below_a_directory(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        for name in ("a.py", "b.txt", "deep/er/c.py", "deep/.d.py"):
            await use.put(rig, machine, f"/root/here/{name}", b"xx")
        await use.run(rig, machine, "ln -s .. here/deep/up.py", cwd="/root")
        found = await rig.host.files.find(machine, "/root/here", "*.py")
        names = ("a.py", "deep/.d.py", "deep/er/c.py", "deep/up.py")
        assert [it.path for it in found] == [f"/root/here/{name}" for name in names]
        assert [it.kind for it in found] == [FileKind.FILE] * 3 + [FileKind.SYMLINK]
        assert len(await rig.host.files.find(machine, "/root/here", "*", limit=2)) == 2
        assert await rig.host.files.find(machine, "/root/here", "[!.abcdeu]*") == []
        with pytest.raises(errors.GuestNotFound, match="/root/missing"):
            await rig.host.files.find(machine, "/root/missing", "*")
        with pytest.raises(errors.GuestError, match=r"/root/here/a\.py"):
            await rig.host.files.find(machine, "/root/here/a.py", "*")

    async def test_lines_of_text_are_found(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/here/text", b"one\nneedle 1\r\nno\n" + b"y" * 5000 + b"needle")
        await use.put(rig, machine, "/root/here/more/text", b"a needle")
        await use.put(rig, machine, "/root/here/binary", b"\0needle")
        found = await rig.host.files.search(machine, "/root/here", "needle")
        assert [(it.path, it.line) for it in found] == [
            ("/root/here/more/text", 1),
            ("/root/here/text", 2),
            ("/root/here/text", 4),
        ]
        assert (found[1].text, len(found[2].text)) == ("needle 1", 4096)
        assert len(await rig.host.files.search(machine, "/root/here", "needle", limit=1)) == 1
        assert len(await rig.host.files.search(machine, "/root/here/text", "needle")) == 2
        for text in ("", "a\nb"):
            with pytest.raises(errors.GuestError):
                await rig.host.files.search(machine, "/root/here", text)
        with pytest.raises(errors.GuestNotFound, match="/root/missing"):
            await rig.host.files.search(machine, "/root/missing", "x")

    async def test_what_happens_to_files_is_told(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        act = (
            "echo x > new; sleep 0.1; chmod 600 new; sleep 0.1; echo y >> new; sleep 0.1; mv new old; sleep 0.1; rm old"
        )
        kinds = [(ChangeKind.CREATED, "new"), (ChangeKind.CHANGED, "new"), (ChangeKind.WRITTEN, "new")]
        ends = [(ChangeKind.RENAMED, "new"), (ChangeKind.RENAMED, "old"), (ChangeKind.REMOVED, "old")]
        await watch(rig, machine, f"{act}; sleep 0.1", *kinds, *ends)

    async def test_what_happens_in_new_directories_is_told(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        act = "rm -rf a; sleep 0.1; mkdir -p a/b; touch a/b/file; sleep 0.1"
        await watch(rig, machine, act, (ChangeKind.CREATED, "a/b"), (ChangeKind.CREATED, "a/b/file"))

    async def test_what_is_not_there_cannot_be_watched(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/file", b"")
        with pytest.raises(errors.GuestNotFound, match="/root/missing"):
            await anext(rig.host.files.watch(machine, "/root/missing"))
        with pytest.raises(errors.GuestError, match="/root/file"):
            await anext(rig.host.files.watch(machine, "/root/file"))

    async def test_a_watch_ends_when_the_machine_does(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        reading = asyncio.create_task(anext(rig.host.files.watch(machine, "/root")))
        await asyncio.sleep(0.2)
        await rig.host.stop(machine, grace=0)
        with pytest.raises((errors.NotRunning, errors.AgentUnavailable)):
            await asyncio.wait_for(reading, 10)
