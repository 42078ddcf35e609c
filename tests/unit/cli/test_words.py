"""What is typed: options and the words of a command, copies, commands of images."""

import dataclasses
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from hutch.cli import copy, machines, main, options, run, snapshots, tunnel
from hutch.cli.copy import Place

Words = Annotated[list[str] | None, typer.Argument()]


def parsed(*typed: str) -> tuple[str, list[str], str | None]:
    """What a command of a thing and words understands."""
    app, seen = typer.Typer(), []

    @app.command(cls=options.WordsCommand)
    @options.flat
    def command(thing: str, surroundings: options.Surroundings, words: Words = None) -> None:
        seen.append((thing, words or [], surroundings.user))

    result = CliRunner().invoke(app, typed)
    assert result.exit_code == 0, result.output
    return seen[0]


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        (["m"], ("m", [], None)),
        (["m", "ls", "-l"], ("m", ["ls", "-l"], None)),
        (["m", "--", "ls", "-l"], ("m", ["ls", "-l"], None)),
        (["-u", "me", "m", "ls"], ("m", ["ls"], "me")),
        (["m", "-u", "me", "--", "ls"], ("m", ["ls"], "me")),
        (["-u", "me", "m", "--", "ls", "-u"], ("m", ["ls", "-u"], "me")),
        (["m", "git", "checkout", "--", "f"], ("m", ["git", "checkout", "--", "f"], None)),
        (["m", "--", "git", "checkout", "--", "f"], ("m", ["git", "checkout", "--", "f"], None)),
        (["m", "git", "--bare", "--", "f"], ("m", ["git", "--bare", "--", "f"], None)),
    ],
)
def test_options_are_ours_until_the_commands_own_words_begin(
    typed: list[str], understood: tuple[str, list[str], str | None]
) -> None:
    assert parsed(*typed) == understood


def test_a_group_of_options_becomes_its_dataclass() -> None:
    app, seen = typer.Typer(), []

    @app.command()
    @options.flat
    def command(shape: options.Shape) -> None:
        seen.append(shape)

    result = CliRunner().invoke(app, ["--cpus", "2", "-l", "a=1", "-l", "b=2", "--offline"])
    assert result.exit_code == 0, result.output
    assert seen == [dataclasses.replace(options.Shape(), cpus=2, label=["a=1", "b=2"], offline=True)]


def test_pairs_have_an_equals_sign_and_may_have_more() -> None:
    assert options.pairs(["A=b", "C=d=e", "F="], "--env") == {"A": "b", "C": "d=e", "F": ""}
    with pytest.raises(typer.BadParameter, match="'A' is not of the form"):
        options.pairs(["A"], "--env")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("web:/a/b", Place("web", "/a/b")),
        ("web:a", Place("web", "a")),
        ("web:", Place("web", "")),
        ("./web:x", Place(None, "./web:x")),
        ("/tmp/a", Place(None, "/tmp/a")),
        (":x", Place(None, ":x")),
        ("-", Place(None, "-")),
    ],
)
def test_a_place_with_a_colon_before_any_slash_is_in_a_machine(text: str, place: Place) -> None:
    assert copy.place(text) == place


@pytest.mark.parametrize(
    ("path", "target"),
    [("/a/b", "/a/b"), ("/a/", "/a/f.txt"), ("", "/f.txt"), ("x", "/x"), ("/", "/f.txt")],
)
def test_a_directory_as_target_keeps_the_files_name(path: str, target: str) -> None:
    assert copy.guest_target(path, "dir/f.txt") == target


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "words", "argv"),
    [
        ((), ("sh",), (), ["sh"]),
        ((), ("sh",), ("ls", "-l"), ["ls", "-l"]),
        (("py",), ("-i",), (), ["py", "-i"]),
        (("py",), ("-i",), ("x.py",), ["py", "x.py"]),
        (("py",), (), (), ["py"]),
        ((), (), (), []),
    ],
)
def test_an_image_runs_as_docker_has_it(
    entrypoint: tuple[str, ...], cmd: tuple[str, ...], words: tuple[str, ...], argv: list[str]
) -> None:
    assert run.argv(entrypoint, cmd, words) == argv


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("0", 0)]
)
def test_a_time_has_a_unit_or_is_in_seconds(text: str | None, seconds: int | None) -> None:
    assert options.seconds(text, "--idle") == seconds


@pytest.mark.parametrize("text", ["", "m", "1.5h", "-1", "10 m", "1w", "1h30m", "ten"])
def test_what_is_no_time_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as 90s, 10m, 2h or 1d"):
        options.seconds(text, "--idle")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (None, (None, None)),
        ("ephemeral", ("ephemeral", None)),
        ("sticky", ("sticky", None)),
        ("sticky:3", ("sticky", 3)),
        ("persistent", ("persistent", None)),
    ],
)
def test_a_class_of_persistence_may_have_a_priority(text: str | None, meant: tuple[str | None, int | None]) -> None:
    assert options.persistence(text) == meant


@pytest.mark.parametrize("text", ["", "forever", "sticky:", "sticky:high", "sticky:-1", "persistent:3", "ephemeral:"])
def test_what_is_no_class_of_persistence_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="sticky:PRIORITY"):
        options.persistence(text)


def test_a_machine_is_made_of_an_image_or_of_a_snapshot() -> None:
    assert machines.origin("debian", None) == machines.Origin("debian")
    assert machines.origin(None, "before") == machines.Origin(snapshot="before")
    for image, snapshot in ((None, None), ("debian", "before")):
        with pytest.raises(typer.BadParameter, match="either an image or a snapshot"):
            machines.origin(image, snapshot)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["web"], ["create", "web"]),
        (["web", "--name", "before"], ["create", "web", "--name", "before"]),
        (["--name", "before", "web"], ["create", "--name", "before", "web"]),
        (["create", "ls"], ["create", "ls"]),
        (["ls"], ["ls"]),
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        ([], []),
    ],
)
def test_a_snapshot_of_a_machine_needs_no_other_word(typed: list[str], meant: list[str]) -> None:
    assert snapshots.meant(typed, {"create", "ls", "rm", "verify"}, ("-h", "--help")) == meant


@pytest.mark.parametrize(
    "words",
    [
        *("", "run", "exec", "image", "key", "up", "doctor", "cp", "image pull", "key create", "tree", "wait", "fork"),
        *("pause", "suspend", "resume", "rollback", "resize", "snapshot", "snapshot create", "pool", "pool claim"),
    ],
)
def test_every_command_has_a_help(words: str) -> None:
    result = CliRunner().invoke(main.app, [*words.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize(
    "words",
    [
        *("nope", "create", "create --cpus x debian", "create -e nonsense debian", "logs -n -1 m", "key revoke"),
        *("create --from s debian", "run", "create --idle soon debian", "create --idle-action sleep debian"),
        *("create --persistence always debian", "fork", "fork -n 0 web", "rollback web", "resize web", "wait"),
        *("resize --disk 0 web", "wait web --timeout -1", "pool create", "pool claim", "snapshot verify", "suspend"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_2(words: str) -> None:
    assert CliRunner().invoke(main.app, words.split()).exit_code == 2


def test_everything_that_deletes_can_tell_it_as_json() -> None:
    app: Any = typer.main.get_command(main.app)
    groups = {"": app, **{name: it for name, it in app.commands.items() if hasattr(it, "commands")}}
    deleting = [(name, verb) for name, group in groups.items() for verb in ("rm", "revoke") if verb in group.commands]
    assert len(deleting) >= 9
    for name, verb in deleting:
        assert "--json" in {word for it in groups[name].commands[verb].params for word in it.opts}, (name, verb)


@pytest.mark.parametrize("number", ["9" * 5000, "70000"])
def test_a_number_however_long_is_told_to_be_none(number: str) -> None:
    for read in (options.port, tunnel.ports, lambda text: tunnel.ports(f"{text}:80")):
        with pytest.raises(typer.BadParameter):
            read(number)
    with pytest.raises(typer.BadParameter):
        options.persistence(f"sticky:{'9' * 5000}")
    with pytest.raises(typer.BadParameter):
        options.seconds("9" * 5000, "--ttl")
