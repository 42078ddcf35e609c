"""Files in guests."""

from collections.abc import AsyncIterator

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.model import errors
from hutch.model.guest import FileKind

MIB = 1024 * 1024


class FilesSuite:
    @pytest.mark.parametrize("size", [0, 1, 65536, 3 * MIB + 1])
    async def test_a_file_comes_back_byte_for_byte(self, rig: Rig, size: int) -> None:
        machine = await use.launch(rig)
        content = (bytes(range(256)) * (size // 256 + 1))[:size]
        await use.put(rig, machine, "/root/file", content)
        stat, read = await rig.host.files.read(machine, "/root/file")
        assert b"".join([chunk async for chunk in read]) == content
        assert (stat.kind, stat.size, stat.path) == (FileKind.FILE, size, "/root/file")

    @pytest.mark.parametrize("name", ["a b", "ünï", "-n", "'\"$x", "a\\b", "%2F", "a\nb", "." + "x" * 200])
    async def test_any_name_will_do(self, rig: Rig, name: str) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, f"/root/odd/{name}", b"x")
        assert await use.get(rig, machine, f"/root/odd/{name}") == b"x"
        assert [stat.path for stat in await rig.host.files.list(machine, "/root/odd")] == [f"/root/odd/{name}"]

    async def test_what_was_written_is_there_for_processes(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/srv/new/dir/file", b"seen")
        assert (await use.run(rig, machine, "cat srv/new/dir/file", cwd="/")).stdout == b"seen"

    async def test_a_mode_is_given_or_kept_or_usual(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        modes = []
        for path, mode in (("/root/usual", None), ("/root/given", 0o750), ("/root/given", None)):
            await use.put(rig, machine, path, b"x", mode)
            modes.append((await rig.host.files.stat(machine, path)).mode)
        assert modes == [0o644, 0o750, 0o750]

    async def test_an_upload_that_breaks_off_changes_nothing(self, rig: Rig) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"new" * 100_000
            raise ConnectionResetError

        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/here/file", b"old")
        with pytest.raises(ConnectionResetError):
            await rig.host.files.write(machine, "/root/here/file", broken())
        assert await use.get(rig, machine, "/root/here/file") == b"old"
        assert len(await rig.host.files.list(machine, "/root/here")) == 1

    async def test_a_download_that_breaks_off_disturbs_nothing(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/file", b"x" * (3 * MIB))
        for _ in range(5):
            _, read = await rig.host.files.read(machine, "/root/file")
            await anext(read)
            await read.aclose()  # type: ignore[attr-defined]
        assert len(await use.get(rig, machine, "/root/file")) == 3 * MIB

    async def test_two_downloads_do_not_wait_for_each_other(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/file", b"x" * (3 * MIB))
        _, slow = await rig.host.files.read(machine, "/root/file")
        first = await anext(slow)
        assert len(await use.get(rig, machine, "/root/file")) == 3 * MIB
        assert len(first) + sum([len(chunk) async for chunk in slow]) == 3 * MIB

    @pytest.mark.parametrize("call", ["read", "stat", "list", "remove"])
    async def test_what_is_not_there_is_not_found_by_its_path(self, rig: Rig, call: str) -> None:
        machine = await use.launch(rig)
        with pytest.raises(errors.GuestNotFound, match="/root/missing"):
            await getattr(rig.host.files, call)(machine, "/root/missing")

    async def test_a_directory_is_no_file(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        with pytest.raises(errors.GuestError, match="/root"):
            await use.get(rig, machine, "/root")
        with pytest.raises(errors.GuestError, match="/root"):
            await use.put(rig, machine, "/root", b"x")

    async def test_a_file_is_no_directory(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/file", b"x")
        for call in (
            rig.host.files.list(machine, "/root/file"),
            rig.host.files.make_directory(machine, "/root/file"),
            use.put(rig, machine, "/root/file/below", b"x"),
            use.get(rig, machine, "/root/file/below"),
        ):
            with pytest.raises(errors.GuestError, match="/root/file"):
                await call

    async def test_what_is_neither_file_nor_directory_is_refused_not_waited_for(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.run(rig, machine, "mkfifo pipe", cwd="/root")
        with pytest.raises(errors.GuestError, match="/root/pipe"):
            await use.get(rig, machine, "/root/pipe")
        assert (await rig.host.files.stat(machine, "/root/pipe")).kind is FileKind.OTHER

    async def test_a_symlink_is_told_as_one_and_read_through(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/file", b"content")
        await use.run(rig, machine, "ln -s /root/file link", cwd="/root")
        stat = await rig.host.files.stat(machine, "/root/link")
        assert (stat.kind, stat.target) == (FileKind.SYMLINK, "/root/file")
        assert await use.get(rig, machine, "/root/link") == b"content"

    async def test_a_directory_tells_what_it_holds_by_name(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        for name in ("b", "a", "C"):
            await use.put(rig, machine, f"/root/here/{name}", b"xx")
        await rig.host.files.make_directory(machine, "/root/here/d")
        told = await rig.host.files.list(machine, "/root/here")
        assert [(stat.path, stat.kind) for stat in told] == [
            ("/root/here/C", FileKind.FILE),
            ("/root/here/a", FileKind.FILE),
            ("/root/here/b", FileKind.FILE),
            ("/root/here/d", FileKind.DIRECTORY),
        ]
        assert told[0].size == 2

    async def test_a_directory_is_made_with_what_is_missing_above_it_once(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        for _ in range(2):
            await rig.host.files.make_directory(machine, "/root/a/b/c", 0o700)
        stat = await rig.host.files.stat(machine, "/root/a/b/c")
        assert (stat.kind, stat.mode) == (FileKind.DIRECTORY, 0o700)

    async def test_a_full_directory_is_removed_only_with_all_it_holds(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/here/file", b"x")
        with pytest.raises(errors.GuestError, match="/root/here"):
            await rig.host.files.remove(machine, "/root/here")
        await rig.host.files.remove(machine, "/root/here", recursive=True)
        with pytest.raises(errors.GuestNotFound):
            await rig.host.files.stat(machine, "/root/here")

    async def test_removing_a_symlink_leaves_what_it_points_to(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/file", b"x")
        await use.run(rig, machine, "ln -s file link", cwd="/root")
        await rig.host.files.remove(machine, "/root/link", recursive=True)
        assert await use.get(rig, machine, "/root/file") == b"x"
