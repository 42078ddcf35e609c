"""Files in machines. A stopped machine is started first."""

from collections.abc import AsyncIterator

from hutch.client import models, wire
from hutch.client._async.http import LONG, Http


class Files:
    """Every `machine` is an id or a name, every path absolute."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def read(self, machine: str, path: str) -> AsyncIterator[bytes]:
        """A file's bytes, in chunks."""
        async with self._http.stream("GET", wire.file_path(machine, path)) as answer:
            async for chunk in answer.aiter_bytes():
                if chunk:
                    yield chunk

    async def list(self, machine: str, path: str) -> list[models.FileInfo]:
        """What a directory holds, by name."""
        found = await self._http.json("GET", wire.machine_path(machine, "files"), params={"dir": path})
        return [wire.file_info(it) for it in found]

    async def write(self, machine: str, path: str, data: AsyncIterator[bytes] | bytes, mode: int | None = None) -> None:
        """Replace or make a file, with missing directories. All or nothing. `mode` None keeps what is there."""
        params = {} if mode is None else {"mode": f"{mode:o}"}
        await self._http.json("PUT", wire.file_path(machine, path), content=data, params=params, timeout=LONG)
