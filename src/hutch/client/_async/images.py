"""The images of the box."""

from collections.abc import AsyncIterator

from hutch.client import models, wire
from hutch.client._async.http import Http


class Images:
    """Images by reference."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self) -> list[models.Image]:
        """All that are there, newest first."""
        return [wire.image(it) for it in await self._http.json("GET", "/v1/images")]

    async def pull(self, reference: str) -> AsyncIterator[models.Progress | models.Image]:
        """Pull or build it: any number of `Progress`, at last the `Image`. Closing the iterator early gives up."""
        async with self._http.stream("POST", "/v1/images/pull", json={"reference": reference}) as answer:
            async for name, data in self._http.events(answer):
                yield wire.pull_event(name, data)

    async def remove(self, reference: str) -> None:
        """Remove it, by reference or digest."""
        await self._http.json("DELETE", f"/v1/images/{wire.segment(reference)}")
