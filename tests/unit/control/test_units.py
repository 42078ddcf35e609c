"""Unit files: what is written for each field, what is refused, and that no value becomes a directive."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hutch.control import units
from hutch.model.errors import Flawed, GuestError
from hutch.model.recipes import RestartPolicy, RestartWhen, Unit, UnitMode

HOSTILE = ["\nExecStart=/bin/evil", "\r[Service]", "\\", "x\\", "\0", "%n\n", '"', "'", "a\n\nb", "\\\n", "\ud800", " "]

AROUND = [("", ""), ("a", ""), ("/a", "b"), ("", "a")]


def service(**fields: object) -> Unit:
    return Unit(**{"name": "web", "mode": UnitMode.SERVICE, "exec": ("run",), **fields})  # type: ignore[arg-type]


def oneshot(**fields: object) -> Unit:
    return service(**{"mode": UnitMode.ONESHOT, **fields})


def lines_of(unit: Unit) -> list[str]:
    """Its directives; sections in brackets, and not what it was made of."""
    return [line for line in units.render(unit).splitlines() if line and not line.startswith(("[X-", "Spec="))]


def test_a_service_is_these_lines() -> None:
    restart = RestartPolicy(RestartWhen.ALWAYS, delay=1, burst=2, interval=3)
    unit = service(
        exec=("first 'a b'", "second"),
        env={"A": "1"},
        user="me",
        group="us",
        workdir="/srv/50%",
        after=("db", "network-online.target"),
        requires=("db.service",),
        on_failure=("my.app",),
        wanted_by=("multi-user.target", "x"),
        timeout=0,
        ready_signal=True,
        watchdog=30,
        restart=restart,
    )
    assert lines_of(unit) == [
        *("[Unit]", "Description=%N", "After=db.service", "After=network-online.target", "Requires=db.service"),
        *("OnFailure=my.app.service", "StartLimitIntervalSec=3", "StartLimitBurst=2"),
        *("[Service]", "Type=notify", "NotifyAccess=all", 'Environment="A=1"', "User=me", "Group=us"),
        *("WorkingDirectory=/srv/50%%", "ExecStartPre=first 'a b'", "ExecStart=second"),
        *("TimeoutStartSec=infinity", "TimeoutStopSec=infinity", "WatchdogSec=30", "Restart=always", "RestartSec=1"),
        *("[Install]", "WantedBy=multi-user.target", "WantedBy=x.service"),
    ]


def test_a_oneshot_runs_all_its_lines_and_stays_active_unless_told_otherwise() -> None:
    lines = lines_of(oneshot(exec=("a", "b")))
    assert lines[2:-2] == ["[Service]", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=a", "ExecStart=b"]
    assert "RemainAfterExit=yes" not in lines_of(oneshot(remain_after_exit=False))


def test_one_that_goes_when_it_has_ended_well_does_not_stay_active_and_removes_itself() -> None:
    lines = lines_of(oneshot(delete_after_success=True, user="me"))
    assert "RemainAfterExit=yes" not in lines
    (last,) = [line for line in lines if line.startswith("ExecStartPost=")]
    assert last.startswith('ExecStartPost=+/bin/sh -c "')
    assert last.endswith('" sh %n')


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("bash -c 'a\nb'", r"bash -c 'a\nb'"),
        ('bash -c "a\r\nb"', r'bash -c "a\nb"'),
        ("a\nb", "a b"),
        ("  a \n", "a"),
        ("a \\\n b", "a   b"),
        ("sh -c 'a \\\n b'", "sh -c 'a   b'"),
        (r"a 'b\'' c", r"a 'b\'' c"),
        (r"a \" b", r"a \" b"),
        ("-/bin/true $X ${Y} %n; x", "-/bin/true $X ${Y} %n; x"),
        ("a 'b\"' \"c'\"", "a 'b\"' \"c'\""),
    ],
)
def test_a_command_line_stays_as_it_is_on_one_line(line: str, written: str) -> None:
    assert f"ExecStart={written}" in lines_of(service(exec=(line,)))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("", '"A="'),
        ("a b", '"A=a b"'),
        ("50% $HOME", '"A=50%% $HOME"'),
        ('"\\', r'"A=\"\\"'),
        ("a\nb\t\r\x7f", r'"A=a\x0ab\x09\x0d\x7f"'),
        ("é", '"A=é"'),
    ],
)
def test_a_variable_is_quoted_as_systemd_unquotes_it(value: str, written: str) -> None:
    assert f"Environment={written}" in lines_of(service(env={"A": value}))


FLAWS = [
    ("service_name_empty", {"name": ""}),
    ("service_name_empty", {"name": ".service"}),
    ("service_name_invalid_prefix", {"name": ".web"}),
    ("service_name_invalid_prefix", {"name": "-web"}),
    ("service_name_invalid_chars", {"name": "a/b"}),
    ("service_name_invalid_chars", {"name": "a\0b"}),
    ("service_name_invalid_chars", {"name": "a b"}),
    ("service_name_invalid_chars", {"name": "a\n"}),
    ("service_name_invalid_chars", {"name": "a%i"}),
    ("service_name_invalid_chars", {"name": "template@"}),
    ("service_name_too_long", {"name": "a" * 248}),
    ("exec_empty", {"exec": ()}),
    ("exec_empty", {"exec": ("a", "")}),
    ("exec_empty", {"exec": (" \n",)}),
    ("env_key_empty", {"env": {"": "x"}}),
    ("env_key_contains_equals", {"env": {"a=b": "x"}}),
    ("after_array_contains_empty", {"after": ("",)}),
    ("requires_array_contains_empty", {"requires": ("a", "")}),
    ("on_failure_array_contains_empty", {"on_failure": ("",)}),
    ("wanted_by_empty", {"wanted_by": ()}),
    ("wanted_by_empty", {"wanted_by": ("",)}),
    ("workdir_empty", {"workdir": ""}),
    ("user_empty", {"user": ""}),
    ("group_empty", {"group": ""}),
]


@pytest.mark.parametrize(("flaw", "fields"), FLAWS)
def test_what_is_wrong_with_a_field_has_a_word(flaw: str, fields: dict[str, object]) -> None:
    with pytest.raises(Flawed) as error:
        units.render(service(**fields))
    assert error.value.flaw == flaw


@pytest.mark.parametrize(("flaw", "fields"), [it for it in FLAWS if "name" not in it[1]])
def test_what_is_wrong_with_a_change_has_the_same_word(flaw: str, fields: dict[str, object]) -> None:
    with pytest.raises(Flawed) as error:
        units.typed(fields)
    assert error.value.flaw == flaw


@pytest.mark.parametrize(
    "unit",
    [
        *(service(env={"a-b": "x"}), service(env={"1a": "x"}), service(workdir="srv"), service(workdir="/srv ")),
        *(service(user="a b"), service(group="%i"), service(timeout=-1), service(watchdog=2**40)),
        *(service(delete_after_success=True), oneshot(ready_signal=True), oneshot(watchdog=1)),
        oneshot(restart=RestartPolicy(RestartWhen.ALWAYS)),
        service(restart=RestartPolicy(RestartWhen.NO, burst=-1)),
        *(service(exec=("a 'b",)), service(exec=("a \\",)), service(exec=("x" * units.MOST_BYTES,))),
        *(service(env={"A": "x" * 200_000}), service(requires=("a b",)), service(after=("-x",))),
    ],
)
def test_what_systemd_would_ignore_or_misread_is_refused(unit: Unit) -> None:
    with pytest.raises(units.requests.InvalidRequest):
        units.render(unit)


PLAIN = {
    "name": "web",
    "exec": ("run",),
    "env": {"A": "a"},
    "user": "u",
    "group": "g",
    "workdir": "/w",
} | dict.fromkeys(("after", "requires", "on_failure", "wanted_by"), ("x",))


@pytest.mark.parametrize("field", PLAIN)
def test_no_value_becomes_another_directive(field: str, tmp_path: Path) -> None:
    """It is refused, or read as one value: the file has the lines of a harmless one, and systemd has no complaint."""
    keys = [line.partition("=")[0] for line in units.render(service(**PLAIN)).split("\n")]
    for number, value in enumerate(f"{before}{text}{after}" for text in HOSTILE for before, after in AROUND):
        value = f"run {value}" if field == "exec" else value
        given = {"A": value} if field == "env" else (value,) if isinstance(PLAIN[field], tuple) else value
        try:
            written = units.render(service(**{**PLAIN, field: given}))
        except units.requests.InvalidRequest:
            continue
        assert [line.partition("=")[0] for line in re.split(r"[\n\r\0]", written)] == keys
        assert not re.search(r"\\$", written, re.M)
        (tmp_path / f"web{number}.service").write_text(written.replace("ExecStart=run", "ExecStart=/bin/true"))
    check(list(tmp_path.iterdir()))


def check(files: list[Path]) -> None:
    """systemd itself reads them, where there is one; that it does not find a program or a unit is no matter."""
    if files and shutil.which("systemd-analyze") is not None:
        ran = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
        assert not [line for line in ran.stderr.splitlines() if line.startswith("/")], ran.stderr


def test_what_a_unit_was_made_of_is_kept_in_it() -> None:
    unit = oneshot(env={"A": "\n[X-Hutch]\nSpec={}"}, restart=RestartPolicy(RestartWhen.ON_FAILURE, 1), timeout=9)
    kept = units.kept_in(units.render(unit))
    assert kept is not None
    assert units.patched(kept, {}) == unit
    other = units.patched(kept, {"mode": "service", "after": ["x"], "restart": {"when": "always"}, "user": None})
    assert other == dataclasses.replace(
        unit, mode=UnitMode.SERVICE, after=("x",), restart=RestartPolicy(RestartWhen.ALWAYS)
    )
    assert units.kept_in("[Unit]\nDescription=x\n") is None


@pytest.mark.parametrize(
    "spec",
    ["", "{", "[]", "{}", '{"name":1,"mode":"x"}', '{"name":"a","exec":[1]}', "[" * 9999, '{"name":"a","env":{"":""}}'],
)
def test_what_was_spoilt_in_the_guest_is_told(spec: str) -> None:
    with pytest.raises(GuestError):
        units.patched(units.kept_in(f"[Unit]\n{units.MARK}\nSpec={spec}\n") or {}, {})


@pytest.mark.parametrize(
    "changes",
    [
        *({"name": "other"}, {"nonsense": 1}, {"exec": "a"}, {"exec": [1]}, {"env": ["a"]}, {"env": {"a": 1}}),
        *({"enable": "yes"}, {"timeout": "1"}, {"timeout": True}, {"mode": "x"}, {"restart": {"when": "x"}}),
        *({"restart": 1}, {"after": "a"}, {"user": 1}, {"restart": {"when": "no", "delay": "1"}}),
    ],
)
def test_changes_that_no_service_can_have_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Flawed):
        units.typed(changes)


def test_a_service_of_others_is_changed_by_a_file_over_it() -> None:
    text = units.render_patch({"exec": ["a", "b"], "env": {"A": "1"}, "user": "me", "restart": {"when": "always"}})
    assert text.splitlines()[:11] == [
        *("[Unit]", "", "[Service]", "Environment=", 'Environment="A=1"', "User=me", "ExecStartPre=", "ExecStartPre=a"),
        *("ExecStart=", "ExecStart=b", "Restart=always"),
    ]
    assert units.render_patch(units.kept_in(text, "Patch") or {}) == text
    assert "Type=notify\nNotifyAccess=all" in units.render_patch({"ready_signal": True})
    for field in ("delete_after_success", "remain_after_exit"):
        with pytest.raises(Flawed, match=field):
            units.render_patch({field: True})
