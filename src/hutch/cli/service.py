"""The CLI's connection to the service: where it is, its errors as failures, its things by what is typed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from hutch import settings
from hutch.cli import config
from hutch.cli.failure import Code, Failure

if TYPE_CHECKING:
    from hutch.client import Hutch


def load_settings() -> settings.Settings:
    """The settings. `Failure` names the variable that is wrong."""
    try:
        return settings.load()
    except ValueError as error:
        raise Failure(str(error), "unset the variable or correct it", Code.USAGE) from None


def configured() -> config.Config:
    """Which service, and with which key."""
    its = load_settings().service
    return config.find(its.home, f"http://{its.listen}")


@contextmanager
def connect(failed: int = Code.FAILED) -> Iterator["Hutch"]:
    """The service. What fails inside becomes a `Failure` with the exit code `failed`."""
    # httpx has a command line of its own, whose import takes longer than all the rest of it.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from hutch.client import Hutch, errors

    target = configured()
    try:
        with Hutch(target.url, target.key) as hutch:
            yield hutch
    except Failure as failure:
        if failure.code == Code.FAILED:
            failure.code = failed
        raise
    except errors.Unreachable as error:
        code = Code.UNREACHABLE if failed == Code.FAILED else failed
        raise Failure(f"cannot reach the service: {error}", "is it running? start it with `hutch up`", code) from None
    except errors.Unauthorized as error:
        raise Failure(error.message, "set HUTCH_KEY, or run as the user whose `hutch up` this is", failed) from None
    except errors.ApiError as error:
        is_fault = error.status >= 500 and not isinstance(error, errors.TimedOut)
        hint = f"request id: {error.request_id}" if is_fault and error.request_id else ""
        raise Failure(error.message, hint, failed) from None


def machine_id(hutch: "Hutch", typed: str) -> str:
    """The id of the machine that is meant by a name, an id, or a beginning of one that no other has."""
    return _meant(typed, "machine", hutch.machines, "`hutch ps` lists them")


def snapshot_id(hutch: "Hutch", typed: str) -> str:
    """The same of a snapshot."""
    return _meant(typed, "snapshot", hutch.snapshots, "`hutch snapshot ls` lists them")


def pool_id(hutch: "Hutch", typed: str) -> str:
    """The same of a pool."""
    return _meant(typed, "pool", hutch.pools, "`hutch pool ls` lists them")


def volume_id(hutch: "Hutch", typed: str) -> str:
    """The same of a volume."""
    return _meant(typed, "volume", hutch.volumes, "`hutch volume ls` lists them")


def tenant_id(hutch: "Hutch", typed: str) -> str:
    """The same of a tenant."""
    return _meant(typed, "tenant", hutch.tenants, "`hutch tenant ls` lists them")


class _Thing(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Things(Protocol):
    def get(self, ref: str, /) -> _Thing: ...
    def list(self) -> Sequence[_Thing]: ...


def _meant(typed: str, noun: str, things: _Things, hint: str) -> str:
    from hutch.client import errors

    try:
        return things.get(typed).id
    except errors.NotFound:
        if not typed:
            raise
    found = [it for it in things.list() if any(text.startswith(typed) for text in _called(it))]
    if len(found) == 1:
        return found[0].id
    if found:
        names = ", ".join(sorted(it.name for it in found)[:5])
        raise Failure(f"{typed!r} could be any of: {names}", "type more of it")
    raise Failure(f"there is no {noun} {typed!r}", hint)


def _called(it: _Thing) -> tuple[str, str, str]:
    return it.id, it.id.partition("-")[2], it.name
