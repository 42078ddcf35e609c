"""The commands of a layer's steps, and what is told when they fail; with a guest that only answers."""

import pytest

from hutch.control.building import packages, people, repositories
from hutch.control.building.repositories import Redactor
from hutch.control.inside import TAIL, CommandFailed, Ran
from hutch.model import errors
from hutch.model.guest import Exit
from hutch.model.recipes import GitIdentity, Group, Repository, User
from unit.control.building.guests import Guest

URL = "https://ann:hunter22%21@git.example/x.git"


async def test_people_with_shadow_s_tools() -> None:
    guest = Guest({"groupadd", "addgroup", "useradd", "adduser"}, groups="root:x:0:\nops:x:1:\n")
    await people.make_groups(guest.site, [Group("ops", 1000), Group("sys_", system=True)])
    full = User("ann", 1001, "Ann A", ("ops", "www", "ann"), "/home/a", "/bin/bash")
    await people.make_users(guest.site, [full, User("ops"), User("job", system=True)])
    assert guest.done[:2] == [("groupadd", "-g", "1000", "ops"), ("groupadd", "-r", "sys_")]
    assert guest.done[2:] == [
        (
            "useradd",
            "-m",
            "-U",
            "-u",
            "1001",
            "-c",
            "Ann A",
            "-d",
            "/home/a",
            "-s",
            "/bin/bash",
            "-G",
            "ops,www",
            "ann",
        ),
        ("useradd", "-m", "-g", "ops", "ops"),
        ("useradd", "-r", "-U", "job"),
    ]


async def test_people_with_busybox_s() -> None:
    guest = Guest({"addgroup", "adduser"})
    await people.make_groups(guest.site, [Group("ops", 1000), Group("sys_", system=True)])
    await people.make_users(guest.site, [User("ann", 1001, groups=("ops",), shell="/bin/sh"), User("job", system=True)])
    assert guest.done == [
        ("addgroup", "-g", "1000", "ops"),
        ("addgroup", "-S", "sys_"),
        ("adduser", "-D", "-u", "1001", "-s", "/bin/sh", "ann"),
        ("addgroup", "ann", "ops"),
        ("adduser", "-D", "-S", "-H", "job"),
    ]


async def test_a_guest_without_tools_says_what_it_lacks() -> None:
    guest = Guest(set())
    with pytest.raises(errors.Unsupported, match="neither groupadd nor addgroup"):
        await people.make_groups(guest.site, [Group("ops")])
    with pytest.raises(errors.Unsupported, match="no apt-get"):
        await packages.install(guest.site, ["curl"])
    with pytest.raises(errors.Unsupported, match="no git, and no apt-get"):
        await repositories.clone_all(guest.site, [Repository("https://x/y", "/y")])


async def test_a_tool_s_own_words_are_told() -> None:
    guest = Guest({"useradd"}, answer=lambda argv: (9, "useradd: user 'ann' already exists"))
    with pytest.raises(CommandFailed, match="making user ann: useradd ended with code 9:\nuseradd: user 'ann' already"):
        await people.make_users(guest.site, [User("ann")])


async def test_packages_are_installed_after_an_update() -> None:
    guest = Guest({"apt-get"})
    await packages.install(guest.site, ["curl", "jq"])
    assert [next(word for word in argv if word in ("update", "install")) for argv in guest.done] == [
        "update",
        "install",
    ]
    assert guest.done[1][-4:] == ("--no-install-recommends", "--", "curl", "jq")
    assert all(command.env["DEBIAN_FRONTEND"] == "noninteractive" for command in guest.commands)


async def test_git_is_installed_where_it_is_missing() -> None:
    guest = Guest({"apt-get"})
    await repositories.set_identity(guest.site, GitIdentity("Ann", "-x"))
    assert guest.done[1][-2:] == ("git", "ca-certificates")
    assert guest.done[2:] == [
        ("git", "config", "--system", "user.name", "Ann"),
        ("git", "config", "--system", "user.email", "-x"),
    ]


async def test_a_repository_is_cloned_and_its_rev_checked_out() -> None:
    guest = Guest({"git"})
    await repositories.clone_all(guest.site, [Repository("https://x/y", "/y", "v1")])
    assert guest.done[0] == ("git", "clone", "--", "https://x/y", "/y")
    assert guest.done[1][-3:] == ("checkout", "v1", "--")
    assert all(command.env["GIT_TERMINAL_PROMPT"] == "0" for command in guest.commands)


async def test_a_commit_of_no_branch_is_fetched_by_its_name() -> None:
    guest = Guest({"git"}, answer=lambda argv: (1 if argv[-2:] == ("abc", "--") else 0, ""))
    await repositories.clone_all(guest.site, [Repository("https://x/y", "/y", "abc")])
    assert guest.done[2][-3:] == ("fetch", "origin", "abc")
    assert guest.done[3][-3:] == ("checkout", "FETCH_HEAD", "--")


async def test_a_password_in_an_address_is_told_to_git_alone() -> None:
    words = f"Cloning into 'y'...\nfatal: unable to access '{URL}/': hunter22! is wrong\nno newline: ann:hunter22%21@"
    guest = Guest({"git"}, answer=lambda argv: (128, words))
    with pytest.raises(CommandFailed) as caught:
        await repositories.clone_all(guest.site, [Repository(URL, "/y")])
    assert guest.done == [("git", "clone", "--", URL, "/y")]
    for told in (caught.value.message, guest.told.decode(), repr(caught.value.ran)):
        assert "fatal: unable to access" in told
        assert "hunter22" not in told
    assert caught.value.message.startswith("cloning into /y: git ended with code 128")


def test_a_password_is_found_across_pieces_and_at_the_cut_of_a_tail() -> None:
    told = bytearray()
    redactor = Redactor(URL, told.extend)
    for byte in f"at {URL} x\r{URL}\n{URL}".encode():
        redactor.tell(bytes([byte]))
    redactor.flush()
    assert (
        told.decode()
        == "at https://***@git.example/x.git x\rhttps://***@git.example/x.git\nhttps://***@git.example/x.git"
    )
    cut = "ter22%21@git.example\n" + "x" * (TAIL - 21)
    assert redactor.clean(Ran(Exit(code=1), b"", b"", cut)).tail == "x" * (TAIL - 21)


def test_an_address_without_one_changes_nothing() -> None:
    told = bytearray()
    redactor = Redactor("https://git.example/x.git", told.extend)
    redactor.tell(b"Cloning https://git.example/x.git\n")
    assert told == b"Cloning https://git.example/x.git\n"
