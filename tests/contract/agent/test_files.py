"""Files: whole or not at all, whatever their names and sizes."""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract.agent.support import Serving, serve, until
from hutch.host.agent.client import Agent
from hutch.model import errors, guest

MIB = 1 << 20
NAMES = ["plain", "with space", "ünïcödé 文件 🦫", "new\nline", "100%25", "-rf", "'\"`$(x)\\", "." * 3, "x" * 255]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read_all(agent: Agent, path: Path | str) -> bytes:
    _, content = await agent.files.read(str(path))
    return b"".join([chunk async for chunk in content])


@pytest.fixture
def unprivileged(binary: Path, tmp_path: Path) -> Iterator[Serving]:
    """An agent that is not root, where we are."""
    directory = tmp_path / "unprivileged"
    directory.mkdir()
    directory.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o711)
    tmp_path.chmod(0o755)
    yield from serve(binary, directory, user=65534 if os.geteuid() == 0 else None)


@pytest.mark.parametrize("size", [0, 1, 255 << 10, 256 << 10, (256 << 10) + 1, 3 * MIB + 7])
async def test_what_was_written_is_read(agent: Agent, tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "file", os.urandom(size)
    await agent.files.write(str(path), chunks(data[:100], b"", data[100:]))
    assert path.read_bytes() == data
    assert await read_all(agent, path) == data
    assert os.listdir(tmp_path).count("file") == 1


async def test_fifty_mebibytes_go_both_ways_with_flat_memory(serving: Serving, agent: Agent, tmp_path: Path) -> None:
    block = os.urandom(MIB)
    path = tmp_path / "large"
    await agent.files.write(str(path), chunks(*[block] * 50))
    assert path.read_bytes() == block * 50
    assert await read_all(agent, path) == block * 50
    peak = next(
        line for line in Path(f"/proc/{serving.process.pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    assert int(peak.split()[1]) < 20 * 1024


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_is_a_name(agent: Agent, tmp_path: Path, name: str) -> None:
    path = tmp_path / name / name
    await agent.files.write(str(path), chunks(name.encode()))
    assert await read_all(agent, path) == name.encode()
    assert (await agent.files.stat(str(path))).path == str(path)
    assert [entry.path for entry in await agent.files.list(str(path.parent))] == [str(path)]
    await agent.files.remove(str(path.parent), recursive=True)
    assert not path.parent.exists()


async def test_a_name_that_is_no_text_is_listed_all_the_same(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff")).touch()
    assert "bad�" in [Path(entry.path).name for entry in await agent.files.list(str(tmp_path))]


async def test_a_missing_file_is_not_found(agent: Agent, tmp_path: Path) -> None:
    path = str(tmp_path / "missing")
    for asking in (agent.files.read(path), agent.files.stat(path), agent.files.list(path), agent.files.remove(path)):
        with pytest.raises(errors.GuestNotFound) as caught:
            await asking
        assert caught.value.message == f"{path}: No such file or directory"


async def test_a_directory_is_no_file(agent: Agent, tmp_path: Path) -> None:
    for path in (str(tmp_path), f"{tmp_path}/", f"{tmp_path}/new/"):
        with pytest.raises(errors.GuestError, match="Is a directory"):
            await agent.files.write(path, chunks(b"x"))
    with pytest.raises(errors.GuestError, match="Is a directory"):
        await agent.files.read(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(errors.GuestError, match="Not a directory"):
        await agent.files.write(str(tmp_path / "file/below"), chunks(b"x"))


async def test_what_is_no_regular_file_is_refused_and_never_waited_for(agent: Agent, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        async with asyncio.timeout(30):
            for path in (fifo, tmp_path / "socket", Path("/dev/null"), Path("/dev/tty")):
                with pytest.raises(errors.GuestError, match="not a regular file"):
                    await agent.files.read(str(path))
                with pytest.raises(errors.GuestError, match="not a regular file"):
                    await agent.files.write(str(path), chunks(b"x"))
    assert (await agent.files.stat(str(fifo))).kind is guest.FileKind.OTHER


async def test_a_file_without_size_is_read_to_its_end(agent: Agent) -> None:
    assert b"Linux" in await read_all(agent, "/proc/version")


async def test_without_permission_nothing_goes(unprivileged: Serving, tmp_path: Path) -> None:
    agent = await unprivileged.connect()
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0)
    with pytest.raises(errors.GuestError, match="Permission denied"):
        await agent.files.read(str(secret))
    with pytest.raises(errors.GuestError, match=r"denied|not permitted"):
        await agent.files.write("/proc/version", chunks(b"x"))
    await agent.close()


async def test_an_upload_that_fails_leaves_nothing(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "new/file"

    async def breaking() -> AsyncIterator[bytes]:
        yield os.urandom(MIB)
        raise RuntimeError("the sender broke off")

    with pytest.raises(RuntimeError):
        await agent.files.write(str(path), breaking())
    await agent.files.list("/")
    await until(lambda: os.listdir(tmp_path / "new") == [], "nothing is left")


async def test_an_upload_whose_host_is_lost_leaves_the_file_there_was(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    agent = await serving.connect()
    sent = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield os.urandom(2 * MIB)
        sent.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(agent.files.write(str(path), hanging()))
    await sent.wait()
    await agent.close()
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    other = await serving.connect()
    assert await read_all(other, path) == b"before"
    await until(lambda: set(os.listdir(tmp_path)) == {"file", "agent.sock"}, "nothing is left")
    await other.close()


async def test_a_file_appears_only_when_it_is_whole(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def watched() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield os.urandom(MIB)
            assert not path.exists()

    await agent.files.write(str(path), watched())
    assert path.stat().st_size == 8 * MIB


async def test_the_mode_is_what_was_asked_for_or_what_it_was(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def mode_after(mode: int | None) -> int:
        await agent.files.write(str(path), chunks(b"x"), mode)
        return stat.S_IMODE(path.stat().st_mode)

    assert await mode_after(None) == 0o644
    assert await mode_after(0o4751) == 0o4751
    assert await mode_after(None) == 0o4751
    assert await mode_after(0o600) == 0o600


async def test_the_owner_is_kept(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, 1234, 5678)
    before = path.stat()
    await agent.files.write(str(path), chunks(b"x"))
    assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)


async def test_a_link_is_written_through(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("to/target")
    await agent.files.write(str(tmp_path / "link"), chunks(b"1"))
    assert (tmp_path / "to/target").read_bytes() == b"1"
    await agent.files.write(str(tmp_path / "link"), chunks(b"2"))
    assert (tmp_path / "to/target").read_bytes() == b"2"
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(errors.GuestError, match="Too many levels"):
        await agent.files.write(str(tmp_path / "loop"), chunks(b"x"))


async def test_a_stat_tells_what_a_path_is(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    os.utime(tmp_path / "file", (1, -5.5))
    found = await agent.files.stat(str(tmp_path / "file"))
    assert (found.kind, found.size, found.modified_at, found.target) == (guest.FileKind.FILE, 5, -5.5, None)
    link = await agent.files.stat(str(tmp_path / "link"))
    assert (link.kind, link.target) == (guest.FileKind.SYMLINK, "file")
    assert (await agent.files.stat(str(tmp_path))).kind is guest.FileKind.DIRECTORY


async def test_a_long_directory_is_listed_whole_and_in_order(agent: Agent, tmp_path: Path) -> None:
    names = sorted(f"{number:0>150}" for number in range(2500))
    (tmp_path / "long").mkdir()
    for name in names:
        (tmp_path / "long" / name).touch()
    found = await agent.files.list(str(tmp_path / "long"))
    assert [Path(entry.path).name for entry in found] == names


async def test_directories_are_made_and_removed(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "a/b/c"
    await agent.files.make_directory(str(path), 0o1777)
    await agent.files.make_directory(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o1777
    with pytest.raises(errors.GuestError, match="not empty"):
        await agent.files.remove(str(tmp_path / "a"))
    await agent.files.remove(str(path))
    await agent.files.remove(str(tmp_path / "a"), recursive=True)
    assert not (tmp_path / "a").exists()


async def test_a_very_deep_directory_is_removed(agent: Agent, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "deep")
    here = os.open(tmp_path / "deep", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    await agent.files.remove(str(tmp_path / "deep"), recursive=True)
    assert not (tmp_path / "deep").exists()


async def test_a_relative_path_is_refused(agent: Agent) -> None:
    for asking in (agent.files.read("etc/passwd"), agent.files.stat(""), agent.files.write("x", chunks(b""))):
        with pytest.raises(errors.GuestError, match="absolute path"):
            await asking
    with pytest.raises(errors.GuestError, match="zero bytes"):
        await agent.files.stat("/etc/passwd\0.txt")


async def test_a_reader_that_stops_lets_go_of_the_file(serving: Serving, agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(4 * MIB))

    def is_open() -> bool:
        links = Path(f"/proc/{serving.process.pid}/fd").iterdir()
        return any(os.path.realpath(link) == str(path) for link in links)

    for _ in range(70):
        _, content = await agent.files.read(str(path))
        async for _chunk in content:
            break
        del content
    _, unread = await agent.files.read(str(path))
    assert is_open()
    del unread
    await until(lambda: not is_open(), "the file is closed")


async def test_many_files_at_once(agent: Agent, tmp_path: Path) -> None:
    data = {f"{number}": os.urandom(600_000) for number in range(80)}

    async def both(name: str) -> bool:
        await agent.files.write(str(tmp_path / name), chunks(data[name]))
        return await read_all(agent, tmp_path / name) == data[name]

    assert all(await asyncio.gather(*(both(name) for name in data)))


async def test_a_full_disk_is_told_and_leaves_nothing(agent: Agent, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        with pytest.raises(errors.GuestDiskFull):
            await agent.files.write("/dev/full", chunks(b"x"))
        return
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        with pytest.raises(errors.GuestDiskFull, match="No space left"):
            await agent.files.write(str(small / "file"), chunks(*[os.urandom(MIB)] * 4))
        await until(lambda: os.listdir(small) == [], "nothing is left")
    finally:
        subprocess.run(["umount", "-l", small], check=True)
