"""Files are moved, given away, found, searched and watched."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.agent.support import LIMIT, Serving, until
from hutch.host.agent.client import Agent
from hutch.model import errors
from hutch.model.guest import Change, ChangeKind, FileKind

CREATED, WRITTEN, REMOVED, RENAMED, CHANGED = ChangeKind


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Watching:
    """What a watch has told."""

    def __init__(self, agent: Agent, path: Path, recursive: bool = False) -> None:
        self.told: list[Change] = []
        self.changes = agent.files.watch(str(path), recursive)
        self._path = path
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for change in self.changes:
            self.told.append(change)

    async def begin(self) -> None:
        """Returns when what happens is told: the first file may be made too early."""
        probe = self._path / "probe"
        async with asyncio.timeout(LIMIT):
            while not self.told:
                probe.touch()
                await asyncio.sleep(0.02)
                probe.unlink()
        (self._path / "probed").touch()
        await self.wait(CREATED, "probed")
        (self._path / "probed").unlink()
        await self.wait(REMOVED, "probed")
        self.told.clear()

    async def wait(self, kind: ChangeKind, name: str) -> None:
        await until(
            lambda: (kind, str(self._path / name)) in [(it.kind, it.path) for it in self.told], f"{kind} {name}"
        )

    async def end(self) -> BaseException | None:
        """What it ends with; if it does not, it is closed."""
        if not self._reading.done():
            self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return (await asyncio.gather(self._reading, return_exceptions=True))[0]
        return None


@pytest.fixture
async def watching(agent: Agent, tmp_path: Path) -> AsyncIterator[Watching]:
    (tmp_path / "seen").mkdir()
    it = Watching(agent, tmp_path / "seen", recursive=True)
    await it.begin()
    yield it
    await it.end()


async def test_a_file_is_moved_and_replaces_another(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    await agent.files.rename(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "new"
    with pytest.raises(errors.GuestNotFound, match=str(tmp_path / "a")):
        await agent.files.rename(str(tmp_path / "a"), str(tmp_path / "c"))
    with pytest.raises(errors.GuestError, match="absolute"):
        await agent.files.rename(str(tmp_path / "b"), "c")


async def test_another_file_system_is_refused(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(errors.GuestError, match="another file system"):
        await agent.files.rename(str(tmp_path / "a"), f"/dev/shm/{os.getpid()}")


async def test_mode_and_owner_change_each_alone(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    await agent.files.change(str(path), 0o4750, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o4750
    if os.geteuid() == 0:
        await agent.files.change(str(path), None, "1234:root")
        assert (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (1234, 0, 0o4750)
        await agent.files.change(str(path), None, ":77")
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 77)
    for mode, owner in ((None, "no-such-user"), (None, ""), (None, None)):
        with pytest.raises(errors.GuestError):
            await agent.files.change(str(path), mode, owner)
    with pytest.raises(errors.GuestNotFound):
        await agent.files.change(str(tmp_path / "missing"), 0o600, None)


async def test_names_are_found_by_pattern(agent: Agent, tmp_path: Path) -> None:
    for name in ("a.py", "b.txt", "deep/c.py", "deep/.d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "deep/up").symlink_to("..")
    found = await agent.files.find(str(tmp_path), "*.py", 100)
    assert [it.path for it in found] == [str(tmp_path / name) for name in ("a.py", "deep/.d.py", "deep/c.py")]
    assert [it.kind for it in await agent.files.find(str(tmp_path), "[tu]p", 100)] == [FileKind.SYMLINK]
    assert len(await agent.files.find(str(tmp_path), "*", 2)) == 2
    with pytest.raises(errors.GuestNotFound):
        await agent.files.find(str(tmp_path / "missing"), "*", 1)


async def test_a_whole_box_is_looked_through_without_getting_lost_in_the_kernel(agent: Agent) -> None:
    async with asyncio.timeout(60):
        found = await agent.files.find("/", "os-release", 100)
    assert "/etc/os-release" in [it.path for it in found]
    assert not [it.path for it in found if it.path.startswith("/proc/")]


async def test_thousands_of_results_come_in_one_answer(agent: Agent, tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:05}").touch()
    assert len(await agent.files.find(str(tmp_path), "0*", 10_000)) == 3000
    (tmp_path / "text").write_text("needle\n" * 3000)
    found = await agent.files.search(str(tmp_path), "needle", 5000)
    assert [it.line for it in found] == [*range(1, 3001)]


async def test_text_is_found_in_files_that_are_text(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"one\nthe n\xc3\xa9edle\r\n" + b"x" * 5000 + "néedle\n".encode())
    (tmp_path / "binary").write_bytes("\0néedle".encode())
    os.mkfifo(tmp_path / "fifo")
    async with asyncio.timeout(10):
        first, second = await agent.files.search(str(tmp_path), "néedle", 100)
    assert (first.path, first.line, first.text) == (str(tmp_path / "text"), 2, "the néedle")
    assert (second.line, len(second.text)) == (3, 4096)
    assert await agent.files.search(str(tmp_path / "text"), "nothing", 100) == []
    for text in ("", "a\nb"):
        with pytest.raises(errors.GuestError, match="part of a line"):
            await agent.files.search(str(tmp_path), text, 1)


async def test_many_walks_at_once_wait_for_their_turn(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("needle\n" * 3000)
    found = await asyncio.gather(*(agent.files.search(str(tmp_path), "needle", 5000) for _ in range(20)))
    assert {len(lines) for lines in found} == {3000}


async def test_what_happens_is_told(watching: Watching, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (seen / "a").write_text("x")
    await watching.wait(WRITTEN, "a")
    (seen / "a").chmod(0o600)
    await watching.wait(CHANGED, "a")
    (seen / "a").rename(seen / "b")
    await watching.wait(RENAMED, "b")
    (seen / "b").unlink()
    await watching.wait(REMOVED, "b")
    kinds = [(it.kind, Path(it.path).name) for it in watching.told if it.kind is not WRITTEN]
    assert kinds == [(CREATED, "a"), (CHANGED, "a"), (RENAMED, "a"), (RENAMED, "b"), (REMOVED, "b")]


async def test_new_directories_are_watched_wherever_they_go(watching: Watching, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (seen / "a/b/c").mkdir(parents=True)
    await watching.wait(CREATED, "a/b/c")
    (seen / "a/b/c/file").touch()
    await watching.wait(CREATED, "a/b/c/file")
    (seen / "a").rename(seen / "z")
    await watching.wait(RENAMED, "z")
    (seen / "z/b/c/other").touch()
    await watching.wait(CREATED, "z/b/c/other")
    assert all(it.is_directory for it in watching.told if Path(it.path).name in "abcz")


async def test_an_upload_is_one_file_made_or_written(watching: Watching, agent: Agent, tmp_path: Path) -> None:
    for kind in (CREATED, WRITTEN):
        await agent.files.write(str(tmp_path / "seen/file"), chunks(os.urandom(3 << 20)))
        await watching.wait(kind, "file")
        assert {Path(it.path).name for it in watching.told} == {"file"}
        assert (tmp_path / "seen/file").stat().st_size == 3 << 20


async def test_without_recursion_only_the_directory_itself_is_watched(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "seen/below").mkdir(parents=True)
    watching = Watching(agent, tmp_path / "seen")
    await watching.begin()
    (tmp_path / "seen/below/file").touch()
    (tmp_path / "seen/file").touch()
    await watching.wait(CREATED, "file")
    assert {it.path for it in watching.told} == {str(tmp_path / "seen/file")}
    await watching.end()


async def test_a_watch_ends_when_its_directory_goes(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    watching = Watching(agent, tmp_path / "seen")
    await watching.begin()
    (tmp_path / "seen").rmdir()
    await until(lambda: watching._reading.done(), "the watch has ended")
    assert isinstance(await watching.end(), errors.GuestNotFound)


async def test_what_cannot_be_watched_is_told(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.GuestError, match="Not a directory"):
        await anext(agent.files.watch(str(tmp_path / "file"), False))
    with pytest.raises(errors.GuestNotFound):
        await anext(agent.files.watch(str(tmp_path / "missing"), True))
    for number in range(4200):
        (tmp_path / f"many/{number}").mkdir(parents=True)
    with pytest.raises(errors.GuestError, match="too many directories"):
        await anext(agent.files.watch(str(tmp_path / "many"), True))


async def test_a_reader_that_is_too_slow_is_told_so(watching: Watching, agent: Agent, tmp_path: Path) -> None:
    changes = agent.files.watch(str(tmp_path / "seen"), False)
    first = asyncio.create_task(anext(changes))
    while not first.done():
        (tmp_path / "seen" / os.urandom(4).hex()).touch()
        await asyncio.sleep(0.01)
    for number in range(5000):
        (tmp_path / f"seen/{number}").touch()
    with pytest.raises(errors.GuestError, match="look, and watch it again"):
        _ = [change async for change in changes]


async def test_watches_end_with_their_conversation_and_are_few(serving: Serving, tmp_path: Path) -> None:
    def threads() -> int:
        return len(os.listdir(f"/proc/{serving.process.pid}/task"))

    agent = await serving.connect()
    watching = [Watching(agent, tmp_path) for _ in range(16)]
    for it in watching:
        await it.begin()
    with pytest.raises(errors.GuestError, match="watched already"):
        await anext(agent.files.watch(str(tmp_path), False))
    await agent.close()
    assert {type(await it.end()) for it in watching} == {errors.AgentUnavailable}
    again = await serving.connect()
    await until(lambda: threads() < 8, "their threads are gone")
    one = Watching(again, tmp_path)
    await one.begin()
    await one.end()
    await again.close()


async def test_a_host_is_not_mounted_upon(agent: Agent, tmp_path: Path) -> None:
    with pytest.raises(errors.GuestError, match="would change the host"):
        await agent.mount("serial", str(tmp_path), readonly=False)
    with pytest.raises(errors.GuestError, match="would change the host"):
        await agent.unmount(str(tmp_path))


async def test_what_is_in_skipped_directories_is_not_told_and_when_all_is_watched_is(
    agent: Agent, tmp_path: Path
) -> None:
    for name in ("seen", "skipped", "skipped/deep"):
        (tmp_path / name).mkdir()
    opened = asyncio.Event()
    changes = agent.files.watch(str(tmp_path), True, [str(tmp_path / "skipped")], opened.set)
    first = asyncio.create_task(anext(changes))
    async with asyncio.timeout(LIMIT):
        await opened.wait()
        (tmp_path / "skipped/deep/a").touch()
        (tmp_path / "skipped/b").touch()
        (tmp_path / "seen/c").touch()
        assert await first == Change(CREATED, str(tmp_path / "seen/c"))
    await changes.aclose()
