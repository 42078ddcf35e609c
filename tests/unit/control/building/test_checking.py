"""What a recipe may not say, and the word for each of it."""

import pytest

from hutch import settings
from hutch.control.building import checking
from hutch.model.errors import Flawed
from hutch.model.recipes import (
    Base,
    File,
    GitIdentity,
    Group,
    Layer,
    Recipe,
    Repository,
    Unit,
    UnitMode,
    UnitPatch,
    User,
)

LIMITS = settings.Machines()


def flaw(*layers: Layer, base: Base | None = None) -> str:
    with pytest.raises(Flawed) as caught:
        checking.check(Recipe(base or Base(), layers), LIMITS)
    return caught.value.flaw


def check(*layers: Layer, base: Base | None = None) -> None:
    checking.check(Recipe(base or Base(), layers), LIMITS)


@pytest.mark.parametrize(
    ("group", "word"),
    [
        (Group(""), "group_name_empty"),
        (Group("a b"), "group_name_invalid_chars"),
        (Group("1st"), "group_name_invalid_chars"),
        (Group("a;reboot"), "group_name_invalid_chars"),
        (Group("a\nroot"), "group_name_invalid_chars"),
        (Group("-g"), "group_name_invalid_chars"),
        (Group("g" * 33), "group_name_too_long"),
        (Group("root"), "group_name_reserved"),
        (Group("ops", 65536), "validation_error"),
        (Group("ops", -1), "validation_error"),
        (Group("ops", 1000, system=True), "validation_error"),
    ],
)
def test_groups(group: Group, word: str) -> None:
    assert flaw(Layer(groups=(group,))) == word


@pytest.mark.parametrize(
    ("user", "word"),
    [
        (User(""), "validation_error"),
        (User("root"), "validation_error"),
        (User("-d"), "validation_error"),
        (User("a:b"), "validation_error"),
        (User("ann", 65536), "user_uid_out_of_range"),
        (User("ann", -1), "user_uid_out_of_range"),
        (User("ann", 1000, system=True), "user_system_flag_mismatch"),
        (User("ann", groups=("",)), "user_group_empty"),
        (User("ann", groups=("a,b",)), "validation_error"),
        (User("ann", home="home"), "user_home_invalid"),
        (User("ann", home="/a:/b"), "user_home_invalid"),
        (User("ann", home="/home/../etc"), "user_home_invalid"),
        (User("ann", shell="bash"), "user_shell_invalid"),
        (User("ann", shell="/bin/sh\n"), "user_shell_invalid"),
        (User("ann", comment="a:b"), "validation_error"),
        (User("ann", comment="a\ud800"), "validation_error"),
    ],
)
def test_users(user: User, word: str) -> None:
    assert flaw(Layer(users=(user,))) == word


def test_a_name_is_given_once_in_all_layers() -> None:
    assert flaw(Layer(groups=(Group("ops"), Group("ops")))) == "duplicate_group_name"
    assert flaw(Layer(users=(User("ann"),)), Layer(users=(User("ann"),))) == "duplicate_user_name"


PLACES = [
    *("etc/x", "", "/a/../../etc/shadow", "/..", "/a\0b", "/a\ud800", "/" + "a" * 5000),
    *("/proc/sys/kernel/core_pattern", "/sys/x", "/dev/vda", "//dev//vda", "/./proc/1/mem"),
]


@pytest.mark.parametrize("path", PLACES)
def test_a_place_is_absolute_and_the_guest_s_own(path: str) -> None:
    assert flaw(Layer(files=(File(path, b""),))) == "invalid_request"
    assert flaw(Layer(repositories=(Repository("https://x/y", path),))) == "invalid_request"
    assert flaw(Layer(workdir=path)) == ("workdir_empty" if path == "" else "invalid_request")


@pytest.mark.parametrize("path", ["/srv/app", "/procedures/x", "/etc/a..b", "//etc/x", "/home/ann/ä b"])
def test_other_places_are_fine(path: str) -> None:
    check(Layer(files=(File(path, b""),), workdir=path))


def test_a_file_is_no_directory_is_given_once_and_has_a_mode() -> None:
    for files in (
        (File("/srv/", b""),),
        (File("/", b""),),
        (File("/a", b""), File("//a", b"")),
        (File("/a", b"", -1),),
    ):
        assert flaw(Layer(files=files)) == "invalid_request"
    check(Layer(files=(File("/a", b""),)), Layer(files=(File("/a", b"2"),)))


def test_there_are_limits() -> None:
    check(*[Layer()] * 32)
    assert flaw(*[Layer()] * 33) == "invalid_request"
    check(Layer(files=tuple(File(f"/{n}", b"") for n in range(1000))))
    halves = [Layer(files=tuple(File(f"/{n}", b"") for n in range(501)))] * 2
    assert flaw(*halves) == "invalid_request"
    check(Layer(files=(File("/a", bytes(8 * 2**20)),)))
    assert flaw(Layer(files=(File("/a", bytes(8 * 2**20)), File("/b", b"1")))) == "invalid_request"
    assert flaw(base=Base(dockerfile="#" * (2**20 + 1))) == "invalid_request"


def test_sizes_are_those_of_machines() -> None:
    for layer in (Layer(cpus=0), Layer(cpus=99), Layer(memory_mib=1), Layer(disk_gib=0), Layer(disk_gib=10**6)):
        assert flaw(layer) == "invalid_request"
    check(Layer(cpus=1, memory_mib=64, disk_gib=1))


def test_there_is_one_base() -> None:
    assert flaw(base=Base(snapshot="x", image="debian")) == "conflicting_spec_sources_error"
    assert flaw(base=Base(image=" ")) == "invalid_request"


@pytest.mark.parametrize(
    "name", ["", "-y", "curl;reboot", "../x.deb", "/tmp/x.deb", "curl jq", "curl-", "CURL", "a" * 300]
)
def test_packages_that_are_none(name: str) -> None:
    assert flaw(Layer(packages=(name,))) == "invalid_request"


def test_packages_as_apt_takes_them() -> None:
    check(Layer(packages=("g++", "libc6:amd64", "curl=7.88.1-10+deb12u8", "jq/bookworm-backports", "0ad")))


@pytest.mark.parametrize(
    "it",
    [
        Repository("", "/y"),
        Repository("--upload-pack=x", "/y"),
        Repository("https://x/\ny", "/y"),
        Repository("https://x/y", "/y", "--force"),
        Repository("https://x/y", "/y", ""),
    ],
)
def test_repositories(it: Repository) -> None:
    assert flaw(Layer(repositories=(it,))) == "invalid_request"


def test_two_repositories_in_one_place() -> None:
    assert flaw(Layer(repositories=(Repository("a", "/y"), Repository("b", "/y/")))) == "invalid_request"


def test_the_rest() -> None:
    assert flaw(Layer(git=GitIdentity("a\nb"))) == "invalid_request"
    assert flaw(Layer(ready_timeout=0)) == "invalid_request"
    assert flaw(Layer(discriminator="x" * 5000)) == "invalid_request"
    assert flaw(Layer(units=(Unit("", UnitMode.SERVICE, ("x",)),))) == "service_name_empty"
    assert flaw(Layer(units=(Unit("web", UnitMode.SERVICE, ()),))) == "exec_empty"
    assert flaw(Layer(patches=(UnitPatch("web", {"no": 1}),))) == "invalid_request"
    check(Layer(git=GitIdentity("Änn", "ann@example.org")))
