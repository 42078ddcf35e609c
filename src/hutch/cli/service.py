"""The CLI's connection to the service: where it is, its errors as failures, its machines by what is typed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
        hint = f"request id: {error.request_id}" if error.status >= 500 and error.request_id else ""
        raise Failure(error.message, hint, failed) from None


def machine_id(hutch: "Hutch", typed: str) -> str:
    """The id of the machine that is meant by a name, an id, or a beginning of one that no other has."""
    from hutch.client import errors

    try:
        return hutch.machines.get(typed).id
    except errors.NotFound:
        if not typed:
            raise
    found = [it for it in hutch.machines.list() if any(text.startswith(typed) for text in _called(it.id, it.name))]
    if len(found) == 1:
        return found[0].id
    if found:
        names = ", ".join(sorted(it.name for it in found)[:5])
        raise Failure(f"{typed!r} could be any of: {names}", "type more of it")
    raise Failure(f"there is no machine {typed!r}", "`hutch ps` lists them")


def _called(id: str, name: str) -> tuple[str, str, str]:
    return id, id.removeprefix("mach-"), name
