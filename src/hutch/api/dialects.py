"""The dialects there are and which of them a request speaks. Adding one adds a line here and touches nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from hutch.api import bearer
from hutch.api.freestyle import dialect as freestyle
from hutch.api.hyperfleet import dialect as hyperfleet
from hutch.api.nullspace import dialect as nullspace
from hutch.api.service import Service
from hutch.api.smol import dialect as smol
from hutch.api.starpod import dialect as starpod


@dataclass(frozen=True, slots=True)
class Dialect:
    """A dialect: whole under `/name`, and at the root where its paths or its keys tell that it is meant."""

    name: str
    build: Callable[[Service], ASGIApp]
    paths: tuple[str, ...] = ()  # root paths that are its alone, with what is below them
    key_prefix: str | None = None  # keys that begin so speak it on the root paths that several dialects claim …
    shared: tuple[str, ...] = ()  # … or only on these, with what is below them


DEFAULT = Dialect("smol", smol.build)
"""Has every root path that no other dialect claims."""

DIALECTS = (
    DEFAULT,
    Dialect("nullspace", nullspace.build, paths=("/healthz",), key_prefix="ns_"),
    Dialect(
        "hyperfleet",
        hyperfleet.build,
        paths=("/machines",),
        key_prefix="hf_",
        shared=("/health", "/docs", "/openapi.json"),
    ),
    Dialect("freestyle", freestyle.build, paths=("/v1/vms",)),
    Dialect("starpod", starpod.build, paths=("/api/instances", "/api/health")),
)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def spoken(path: str, token: str | None, dialects: tuple[Dialect, ...] = DIALECTS) -> tuple[Dialect, str]:
    """Which dialect a request to `path` with this token speaks, and the path inside it. Pure."""
    for dialect in dialects:
        mount = f"/{dialect.name}"
        if _is_below(path, mount):
            return dialect, path[len(mount) :] or "/"
    for dialect in dialects:
        if any(_is_below(path, root) for root in dialect.paths):
            return dialect, path
    for dialect in dialects:
        is_its_key = dialect.key_prefix and token and token.startswith(dialect.key_prefix)
        if is_its_key and (not dialect.shared or any(_is_below(path, root) for root in dialect.shared)):
            return dialect, path
    return dialects[0], path


class Switchboard:
    """ASGI: hands every request to its dialect."""

    def __init__(self, rooms: Mapping[str, ASGIApp]) -> None:
        self._rooms = rooms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the path it has inside its dialect."""
        dialect, path = spoken(scope["path"], bearer.token(scope["headers"]))
        scope["path"] = path
        await self._rooms[dialect.name](scope, receive, send)
