"""doctor: whether this box can run machines, and what to do where it cannot."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from hutch import settings
from hutch.cli import config, options, out, service
from hutch.cli.failure import Failure

if TYPE_CHECKING:
    from hutch.bootstrap import Check


@dataclass(frozen=True)
class Seen:
    """A check of the CLI's own, beside those of the box."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def _service() -> Iterator["Check"]:
    """Whether the service answers, and knows the key."""
    from hutch.client import Hutch, errors

    try:
        target = service.configured()
    except Failure as failure:
        yield Seen("config", False, str(failure), failure.hint)
        return
    with Hutch(target.url, target.key) as hutch:
        try:
            health = hutch.health()
            yield Seen("service", True, f"{target.url}, version {health.version}, {health.vmm}, {health.accelerator}")
            hutch.machines.list()
            yield Seen("key", True, "known to the service")
        except errors.Unreachable as error:
            yield Seen("service", None, f"does not answer: {error}", "start it: hutch up")
        except errors.ApiError as error:
            yield Seen("key", False, error.message, "set HUTCH_KEY, or run as the user whose `hutch up` this is")


def _home(its: settings.Settings) -> "Check":
    home = its.service.home
    existing = next(it for it in (home, *home.parents) if it.exists())
    if not os.access(existing, os.W_OK):
        return Seen(
            "home", False, f"{home} cannot be written", "run as root, or set HUTCH_HOME to a directory of yours"
        )
    return Seen("home", True, f"{home}{'' if config.path(home).exists() else ' (not used yet)'}")


def checks() -> list["Check"]:
    """All of them: the box, the home, the service."""
    from hutch import bootstrap

    its = service.load_settings()
    return [*bootstrap.diagnose(its), _home(its), *_service()]


_MARKS = {True: "ok", None: "warn", False: "FAIL"}


def doctor(as_json: options.AsJson = False) -> None:
    """Look at this box: can it run machines, and what is to be done where it cannot?"""
    found = checks()
    if as_json:
        out.as_json([{"name": it.name, "ok": it.ok, "detail": it.detail, "remedy": it.remedy} for it in found])
    else:
        out.table(
            found,
            (("", lambda it: _MARKS[it.ok]), ("CHECK", lambda it: it.name), ("FOUND", lambda it: it.detail)),
        )
        for it in found:
            if it.ok is not True and it.remedy:
                out.say(f"{it.name}: {it.remedy}")
    if any(it.ok is False for it in found):
        raise typer.Exit(1)
