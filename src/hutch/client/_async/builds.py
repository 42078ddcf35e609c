"""Builds: snapshots made of recipes, layer upon layer."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from hutch.client import builds, recipes
from hutch.client._async.http import LONG, Http


class Builds:
    """Every `build` is an id."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(self, recipe: recipes.Recipe | Mapping[str, Any]) -> builds.Build:
        """Begin; what was built before is a build that has succeeded. A mapping is the API's own JSON."""
        body = recipes.body(recipe) if isinstance(recipe, recipes.Recipe) else recipe
        return builds.build(await self._http.json("POST", "/v1/builds", json=body, timeout=LONG))

    async def get(self, build: str) -> builds.Build:
        """One, as it is now."""
        return builds.build(await self._http.json("GET", builds.path(build)))

    async def wait(self, build: str, timeout: float = 60) -> builds.Build:
        """When it has ended, however it did. `TimedOut` after so many seconds, at most 3600."""
        params = {"timeout": timeout}
        return builds.build(await self._http.json("GET", builds.path(build, "wait"), params=params, timeout=LONG))

    async def phases(self, build: str) -> list[builds.Phase]:
        """What it has begun until now, oldest first."""
        return [builds.phase(it) for it in await self._http.json("GET", builds.path(build, "phases"))]

    async def follow(self, build: str) -> AsyncIterator[builds.BuildEvent]:
        """Phases and output as they come, at last the `Build` as it ended. Closing the iterator ends nothing."""
        async with self._http.stream("GET", builds.path(build, "log")) as answer:
            async for name, data in self._http.events(answer):
                yield builds.event(name, data)

    async def cancel(self, build: str) -> builds.Build:
        """End it. One that has ended stays as it is."""
        return builds.build(await self._http.json("POST", builds.path(build, "cancel"), timeout=LONG))

    async def list(self, limit: int = 100) -> list[builds.Build]:
        """The last ones, newest first."""
        found = await self._http.json("GET", "/v1/builds", params={"limit": limit})
        return [builds.build(it) for it in found]
