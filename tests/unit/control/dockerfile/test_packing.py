"""What a guest without any program is asked for, so that it is a tar."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hutch.control.dockerfile import packing
from hutch.model import errors
from hutch.model.guest import FileKind, FileStat


class Deep:
    """A guest whose every directory holds ten files and a directory."""

    listed = 0

    async def list(self, path: str) -> list[FileStat]:
        self.listed += 1
        assert self.listed < 100, "it goes on"
        files = [FileStat(f"{path}/{at}", FileKind.FILE, 0, 0o644, 0, 0, 0.0) for at in range(10)]
        return [*files, FileStat(f"{path}/z", FileKind.DIRECTORY, 0, 0o755, 0, 0, 0.0)]

    async def chunks(self, path: str) -> AsyncGenerator[bytes, None]:
        yield b""


async def test_what_is_listed_and_not_yet_packed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_WAITING", 100, raising=False)
    guest: Any = Deep()
    with pytest.raises(errors.GuestError, match="/a: more files than can be copied"):
        async for _ in packing.pack_by_file(guest, FileStat("/a", FileKind.DIRECTORY, 0, 0o755, 0, 0, 0.0)):
            pass
