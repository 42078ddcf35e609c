"""The images of the box, which all tenants share."""

import asyncio
import builtins
import contextlib
from collections.abc import AsyncGenerator

from hutch.control.keys import Principal
from hutch.host import interface
from hutch.host.interface import Image as Image
from hutch.host.interface import ImageConfig as ImageConfig
from hutch.host.interface import OnProgress as OnProgress
from hutch.host.interface import Progress as Progress
from hutch.host.interface import ignore_progress
from hutch.model import keys


class Images:
    """Images by reference (`debian`, `python:3.12`, `registry.example/a/b@sha256:…`)."""

    def __init__(self, host: interface.Images) -> None:
        self._host = host

    async def ensure(self, principal: Principal, reference: str, on_progress: OnProgress = ignore_progress) -> Image:
        """Pull or build it unless it is here. Needs `machine:create`.

        `InvalidRequest` (malformed), `ImageUnavailable` (with the registry's words), `DiskFull`.
        """
        principal.require("machine:create")
        return await self._host.ensure(await self._host.resolve(reference), on_progress)

    async def pull(self, principal: Principal, reference: str) -> AsyncGenerator[Progress | Image, None]:
        """As `ensure`, told as it goes: any number of `Progress`, then the `Image`. Closing it early gives up.

        What is refused is raised at the first item. A slow reader is told the latest progress, not all of it.
        """
        latest: builtins.list[Progress] = []
        news = asyncio.Event()

        def tell(progress: Progress) -> None:
            latest[:] = [progress]
            news.set()

        work = asyncio.create_task(self.ensure(principal, reference, tell))
        work.add_done_callback(lambda _: news.set())
        try:
            while not work.done():
                await news.wait()
                news.clear()
                while latest:
                    yield latest.pop()
            yield work.result()
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work

    async def remove(self, principal: Principal, reference: str) -> None:
        """Remove by reference or digest. Needs `admin`. `NotFound`; `Conflict` while a machine is made of it."""
        principal.require(keys.ADMIN)
        await self._host.remove(reference)

    async def list(self, principal: Principal) -> builtins.list[Image]:
        """All that are here, newest first. Needs `machine:read`."""
        principal.require("machine:read")
        return await self._host.list()
