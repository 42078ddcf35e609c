"""The shell that a session's commands run in: how it begins where the last one ended, and tells where it ended itself.

It tells that in a file, at its exit, so that the caller's streams and exit code are the command's own. A line that
replaces the shell (`exec`) or is killed tells nothing. Written for any POSIX `sh`: dash, bash, busybox. Pure.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from hutch.control import requests
from hutch.model import errors

REPORT_LIMIT = 1024 * 1024
"""Bytes of a report; a larger one is not read."""

_MARK = b"\0=\n"  # between two environments: no variable has an empty name

_SCRIPT = """\
__hutch_root=${{PWD%/}}
cd -- "$__hutch_root"{cwd} 2>/dev/null || {{ echo {missing} >&2; exit 255; }}
{previous}
__hutch_from=$PWD
__hutch_told=
__hutch_tell() {{
  set +x
  [ -z "$__hutch_told" ] || return "$1"
  __hutch_told=1
  {{ unset -f echo; echo =; }} | {{
    unset -f command
    __HUTCH_ROOT="$__hutch_root" __HUTCH_FROM="$__hutch_from" __HUTCH_TO="$(command pwd)" \\
      command -p cat "/proc/$$/environ" - /proc/self/environ >|"$__hutch_root"{report}
  }} || :
  return "$1"
}}
trap '{{ __hutch_tell "$?"; }} 2>/dev/null' EXIT
{first}eval {line}
{{ __hutch_tell "$?"; }} 2>/dev/null
"""
# `__hutch_root` is empty in a guest; where an agent serves a directory of another system, it is that directory.
# The last line tells when the caller's own trap has taken the place of ours. /proc/$$/environ is what the shell began
# with, /proc/self/environ what it would hand on at its end.

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VOLATILE = frozenset({"PWD", "SHLVL", "_"})


@dataclass(frozen=True, slots=True)
class Report:
    """What a shell has told."""

    began_in: str
    ended_in: str
    changed: Mapping[str, str]
    removed: frozenset[str]


def wrap(line: str, cwd: str, env: Mapping[str, str], report: str, is_login: bool) -> tuple[str, ...]:
    """The command that runs this line in `cwd` and writes `report`; it has to be started in `/` with this `env`.

    The shell is named by its path: a session may have spoilt its PATH. `is_login`: the first of a session reads the
    profile, and hands on what that sets.
    """
    previous = env.get("OLDPWD")
    script = _SCRIPT.format(
        cwd=shlex.quote(cwd),
        missing=shlex.quote(f"{cwd}: the working directory is not there or cannot be entered"),
        previous="unset OLDPWD" if previous is None else f"OLDPWD={shlex.quote(previous)}",
        report=shlex.quote(report),
        first="__hutch_tell 0 2>/dev/null; __hutch_told=\n" if is_login else "",
        line=shlex.quote(f" {line}"),
    )
    return ("/bin/sh", "-lc" if is_login else "-c", script)


def parse(data: bytes) -> Report | None:
    """What a report says; None if it is not whole."""
    before, mark, after = data.partition(_MARK)
    if not mark or not after.endswith(b"\0"):
        return None
    first, last = _variables(before), _variables(after)
    root, began, ended = (last.pop(name, None) for name in ("__HUTCH_ROOT", "__HUTCH_FROM", "__HUTCH_TO"))
    if root is None or began is None or ended is None:
        return None
    return Report(
        began.removeprefix(root) or "/",
        ended.removeprefix(root) or "/",
        {name: value for name, value in last.items() if first.get(name) != value},
        frozenset(first) - frozenset(last),
    )


def _variables(environ: bytes) -> dict[str, str]:
    """Those that can be handed on: with a name that a shell takes, and in UTF-8."""
    found = {}
    for entry in environ.split(b"\0"):
        try:
            name, mark, value = entry.decode().partition("=")
        except UnicodeDecodeError:
            continue
        if mark and _NAME.fullmatch(name) and name not in _VOLATILE:
            found[name] = value
    return found


def follow(cwd: str | None, env: Mapping[str, str], report: Report) -> tuple[str | None, Mapping[str, str]]:
    """Directory and variables of a session after a command that told this.

    Only what the command changed is kept. Variables that are too large in all are not: those stay as they were.
    """
    if report.ended_in != report.began_in and _is_usable(report.ended_in):
        cwd = report.ended_in
    kept = {name: value for name, value in env.items() if name not in report.removed}
    changed = {**kept, **report.changed}
    try:
        requests.check_env(changed)
    except errors.InvalidRequest:
        changed = dict(env)
    return cwd, changed


def _is_usable(path: str) -> bool:
    try:
        requests.check_path("cwd", path)
    except errors.InvalidRequest:
        return False
    return True
