"""Services as systemd's unit files: the rules about their fields, and what is written (systemd.unit(5), .service(5)).

No value can become another directive: names are of few characters, values are quoted as systemd unquotes them, and a
line never ends inside one. Command lines are systemd's own: it finds the program, splits at spaces outside of quotes,
and takes `$`, `%` and prefixes for its own; what is for a shell goes to one. Pure.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from hutch.control import requests
from hutch.model.errors import Flawed, GuestError, InvalidRequest
from hutch.model.recipes import RestartPolicy, RestartWhen, Unit, UnitMode

SUFFIX = ".service"
DIRECTORY = "/etc/systemd/system"
SUCCEEDED = "/var/lib/hutch/succeeded"
"""In a guest: an empty file named like each unit that was removed when it had ended well."""

LOCK = "/run/hutch-units.lock"
"""In a guest: held while unit files are changed."""

READY = "/run/hutch/ready"
"""In a guest: there once it was ready, until it boots or its services change. Part of its memory, and of copies'."""

MOST_BYTES = 512 * 1024  # of a unit file; systemd reads lines of up to 1 MiB
NAME_LENGTH = 255 - len(f"{SUFFIX}.new")  # as a file's name while it is written
MAX_SECONDS = requests.MAX_SECONDS

_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+")
_TYPES = ["service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of others systemd says "invalid, ignoring"
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
MARK = "[X-Hutch]"
"""The section by which a unit made here is known; systemd leaves alone those whose name begins with X-."""

_FORGET = f"""\
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
exec 9>{LOCK} && flock -w 60 9 && mkdir -p {SUCCEEDED} && : >"{SUCCEEDED}/$1" && cd {DIRECTORY} || exit 1
grep -lsxF -D skip "Requires=$1" ./*{SUFFIX} | while read -r it; do
grep -vxF "Requires=$1" "$it" >"$it.new" && mv "$it.new" "$it"; done
rm -rf "./$1" "./$1.d" ./*.wants/"$1" && systemctl daemon-reload"""
"""Removes a unit, from within: `$1`. Others that required it need it no more, now or when they are made."""


def unit_of(name: str) -> str:
    """The unit that a service's name means, with or without `.service`. `Flawed`."""
    plain = name.removesuffix(SUFFIX)
    shown = ascii(plain[:80])
    if not plain:
        raise Flawed("service name is empty", "service_name_empty")
    if plain[0] in ".-":
        raise Flawed(f"service name {shown} begins with '.' or '-'", "service_name_invalid_prefix")
    if not _NAME.fullmatch(plain) or plain.endswith("@"):
        raise Flawed(
            f"service name {shown}: use letters, digits and : _ . \\ @ -, and no @ at its end",
            "service_name_invalid_chars",
        )
    if len(plain) > NAME_LENGTH:
        raise Flawed(f"service name {shown} is too long: at most {NAME_LENGTH} characters", "service_name_too_long")
    return plain + SUFFIX


def render(unit: Unit) -> str:
    """The file of a service. `Flawed`, naming the field."""
    unit_of(unit.name)
    fields = {field.name: getattr(unit, field.name) for field in dataclasses.fields(unit)}
    fields = {key: value for key, value in fields.items() if value is not None}
    _check_together(unit)
    kept = {**fields, "restart": dataclasses.asdict(unit.restart)} if unit.restart else fields
    return _text(["[Unit]", "Description=%N"], _lines(fields), "Spec", kept)


def render_patch(changes: Mapping[str, object]) -> str:
    """The file that, laid over a service that was not made here, changes it so.

    What it waits for and is wanted by can only become more: systemd takes no dependency away.
    """
    for field in ("delete_after_success", "remain_after_exit"):
        if field in changes:
            raise Flawed(f"{field} can be changed only of services that were made here")
    fields = typed(changes)
    restart = fields.get("restart")
    kept = {**fields, "restart": dataclasses.asdict(restart)} if isinstance(restart, RestartPolicy) else fields
    return _text(["[Unit]"], _lines(fields, {"Environment", "ExecStartPre", "ExecStart"}), "Patch", kept)


def _text(lines: list[str], directives: Sequence[tuple[str, str]], key: str, kept: Mapping[str, object]) -> str:
    section = lines[0]
    for its, line in directives:
        if its != section:
            lines += ["", its]
            section = its
        lines.append(line)
    lines += ["", MARK, f"{key}={json.dumps(kept, default=dict)}", ""]
    text = "\n".join(lines)
    if (size := len(text.encode())) > MOST_BYTES:
        raise Flawed(f"the service is {size} bytes as a unit file: at most {MOST_BYTES}; put the rest into files")
    return text


def kept_in(text: str, key: str = "Spec") -> Mapping[str, object] | None:
    """The fields of a unit file made here (`Spec`, or `Patch` of one laid over another's); None of any other.

    What was changed in the guest to make no sense is `GuestError`.
    """
    _, marked, rest = text.partition(f"\n{MARK}\n{key}=")
    if not marked:
        return None
    try:
        it = json.loads(rest.splitlines()[0])
        name = {"name": str(it.pop("name"))} if key == "Spec" else {}
        return {**typed(it), **name}
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, RecursionError, InvalidRequest):
        raise GuestError(f"the unit file's section {MARK} was changed in the guest, and makes no sense") from None


def patched(fields: Mapping[str, object], changes: Mapping[str, object]) -> Unit:
    """A service made here, otherwise."""
    return Unit(**{**fields, **typed(changes)})  # type: ignore[arg-type]


def typed(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields of `Unit` but its name, with the types they have there, checked; what is None is left out. `Flawed`."""
    result = dict[str, object]()
    for field, value in fields.items():
        if field not in _TYPED:
            raise Flawed(f"{field[:80]!a}: a service has no such field that can be changed")
        if value is not None:
            try:
                result[field] = _TYPED[field](value)
            except (TypeError, ValueError):
                raise Flawed(f"{field} is not what a service's {field} can be") from None
    _lines(result)  # what is wrong with a value is told
    return result


def _of(kind: type) -> Callable[[Any], object]:
    def convert(value: Any) -> object:
        if type(value) is not kind:
            raise TypeError(value)
        return value

    return convert


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(it, str) for it in value):
        raise TypeError(value)
    return tuple(value)


def _variables(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    _texts([*value, *value.values()])
    return dict(value)


def _restart(value: Any) -> RestartPolicy:
    if isinstance(value, RestartPolicy):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(value)
    numbers = {key: _of(int)(value[key]) for key in ("delay", "burst", "interval") if value.get(key) is not None}
    return RestartPolicy(RestartWhen(value["when"]), **numbers)  # type: ignore[arg-type]


_TYPED: Mapping[str, Callable[[Any], object]] = {
    "mode": UnitMode,
    "exec": _texts,
    "env": _variables,
    **dict.fromkeys(("user", "group", "workdir"), _of(str)),
    **dict.fromkeys(("after", "requires", "on_failure", "wanted_by"), _texts),
    **dict.fromkeys(("enable", "delete_after_success", "remain_after_exit", "ready_signal"), _of(bool)),
    **dict.fromkeys(("timeout", "watchdog"), _of(int)),
    "restart": _restart,
}


def _check_together(unit: Unit) -> None:
    """Fields that make sense only beside others."""
    if unit.mode is UnitMode.ONESHOT:
        if unit.ready_signal:
            raise Flawed("ready_signal is for the mode service: a oneshot is ready when it has ended")
        if unit.watchdog:
            raise Flawed("watchdog is for the mode service")
        if unit.restart is not None and unit.restart.when is RestartWhen.ALWAYS:
            raise Flawed("restart: a oneshot can be started anew on-failure or on-abnormal, not always")
    elif unit.delete_after_success:
        raise Flawed("delete_after_success is for the mode oneshot")


def _lines(fields: Mapping[str, Any], resets: Collection[str] = ()) -> list[tuple[str, str]]:
    """Section and line of each directive; those of `resets` begin by emptying what was there."""
    lines = list[tuple[str, str]]()
    for section, key, values in _directives(fields):
        if key in resets and values:
            lines.append((section, f"{key}="))
        lines += [(section, f"{key}={value}") for value in values]
    return lines


def _directives(it: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """All of the fields that are given."""
    restart = it.get("restart") or RestartPolicy(RestartWhen.NO)
    for key, field in (("After", "after"), ("Requires", "requires"), ("OnFailure", "on_failure")):
        yield "[Unit]", key, [_reference(field, name) for name in it.get(field, ())]
    yield "[Unit]", "StartLimitIntervalSec", _seconds("restart interval", restart.interval)
    yield "[Unit]", "StartLimitBurst", _number("restart burst", restart.burst, 2**31 - 1)
    yield "[Service]", "Type", _type(it)
    if it.get("mode") is UnitMode.ONESHOT and it.get("remain_after_exit") and not it.get("delete_after_success"):
        yield "[Service]", "RemainAfterExit", ("yes",)
    if it.get("ready_signal") or it.get("watchdog"):
        yield "[Service]", "NotifyAccess", ("all",)
    yield "[Service]", "Environment", list(_environment(it.get("env", {})))
    yield "[Service]", "User", _account("user", it.get("user"))
    yield "[Service]", "Group", _account("group", it.get("group"))
    yield "[Service]", "WorkingDirectory", _directory(it.get("workdir"))
    if "exec" in it:
        commands = [_command(line) for line in it["exec"]]
        if not commands:
            raise Flawed("exec is empty: give at least one command line", "exec_empty")
        first = 0 if it.get("mode") is UnitMode.ONESHOT else len(commands) - 1
        yield "[Service]", "ExecStartPre", commands[:first]
        yield "[Service]", "ExecStart", commands[first:]
    if it.get("delete_after_success"):
        yield "[Service]", "ExecStartPost", (f"+/bin/sh -c {_word(_FORGET)} sh %n",)
    limit = _seconds("timeout", it.get("timeout"), zero="infinity")
    yield "[Service]", "TimeoutStartSec", limit
    yield "[Service]", "TimeoutStopSec", limit
    yield "[Service]", "WatchdogSec", _seconds("watchdog", it.get("watchdog"))
    yield "[Service]", "Restart", (restart.when.value,) if it.get("restart") else ()
    yield "[Service]", "RestartSec", _seconds("restart delay", restart.delay)
    if "wanted_by" in it:
        if not it["wanted_by"] or "" in it["wanted_by"]:
            raise Flawed("wanted_by is empty: name a target, or leave it out", "wanted_by_empty")
        yield "[Install]", "WantedBy", [_reference("wanted_by", name) for name in it["wanted_by"]]


def _type(it: Mapping[str, Any]) -> Sequence[str]:
    if it.get("ready_signal"):
        return ("notify",)
    if "mode" not in it:
        return ("simple",) if "ready_signal" in it else ()
    return ("oneshot",) if it["mode"] is UnitMode.ONESHOT else ("simple",)


def _reference(field: str, name: str) -> str:
    """Another unit; a service if it does not say what it is, as systemctl takes it."""
    if not name:
        raise Flawed(f"{field} has an empty name in it", f"{field}_array_contains_empty")
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise Flawed(f"{field}: {name[:80]!a} is no name of a unit: use letters, digits and : _ . \\ @ -")
    stem, _, kind = name.rpartition(".")
    return name if stem and kind in _TYPES else unit_of(name)


def _environment(env: Mapping[str, str]) -> Iterator[str]:
    for key in env:
        if not key:
            raise Flawed("env has an empty name in it", "env_key_empty")
        if "=" in key:
            raise Flawed(f"env: the name {key[:80]!a} holds '='", "env_key_contains_equals")
        if not _VARIABLE.fullmatch(key):
            raise Flawed(f"env: systemd takes no variable {key[:80]!a}: use letters, digits and _")
    requests.check_env(env)
    for key, value in env.items():
        yield _word(f"{key}={_encodable('env', value)}", dollar="$")


def _word(text: str, dollar: str = "$$") -> str:
    """Quoted so that systemd reads exactly this: as one argument, or one variable where `$` is nothing special."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return '"' + _CONTROL.sub(lambda it: f"\\x{ord(it[0]):02x}", quoted) + '"'


def _command(line: str) -> str:
    """A command line as it is, on one line: line ends are escaped within quotes, and spaces outside of them."""
    if not line.strip():
        raise Flawed("exec has an empty command line in it", "exec_empty")
    if "\0" in line:
        raise Flawed("exec: a command line holds a NUL, which no program can be given")
    result, quote, escaped = list[str](), "", False
    for it in _encodable("exec", line).replace("\r\n", "\n").strip(" \t\r\n"):
        if it in "\r\n":
            if escaped:
                result.pop()  # as in a unit file: a line that is continued
            result.append(repr(it)[1:-1] if quote and not escaped else " ")
            escaped = False
            continue
        if not escaped and it in "\"'" and quote in ("", it):
            quote = "" if quote else it
        escaped = it == "\\" and not escaped
        result.append(it)
    if escaped or quote:
        raise Flawed(f"exec: a command line ends with {'a backslash' if escaped else 'an open quote'}")
    return "".join(result)


def _account(field: str, name: str | None) -> Sequence[str]:
    if name is None:
        return ()
    if not name:
        raise Flawed(f"{field} is empty: name one, or leave it out", f"{field}_empty")
    if not _ACCOUNT.fullmatch(name) or len(name) > 256:
        raise Flawed(f"{field} {name[:80]!a} is no name of a {field}")
    return (name,)


def _directory(path: str | None) -> Sequence[str]:
    if path is None:
        return ()
    if not path:
        raise Flawed("workdir is empty: give an absolute path, or leave it out", "workdir_empty")
    if path != "~":
        requests.check_path("workdir", _encodable("workdir", path))
    if _CONTROL.search(path) or path != path.strip() or path.endswith("\\"):
        raise Flawed(f"workdir {path[:80]!a} cannot be told to systemd: it has a character at its end or within")
    return (path.replace("%", "%%"),)


def _number(field: str, value: int | None, most: int) -> Sequence[str]:
    if value is not None and not 0 <= value <= most:
        raise Flawed(f"{field} is {value}: 0 to {most}, or leave it out")
    return () if value is None else (str(value),)


def _seconds(field: str, value: int | None, zero: str = "0") -> Sequence[str]:
    text = _number(field, value, MAX_SECONDS)
    return (zero,) if text == ("0",) else text


def _encodable(field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Flawed(f"{field}: this is not text: it has half a character in it") from None
    return text
