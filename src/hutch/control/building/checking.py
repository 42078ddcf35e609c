"""What a recipe may say. Pure. The rules about services are those of `units.py`."""

import posixpath
import re
from collections.abc import Iterable, Sequence

from hutch import settings
from hutch.control import requests, units
from hutch.model.errors import Flawed
from hutch.model.recipes import Base, GitIdentity, Group, Layer, Recipe, Repository, User

MAX_LAYERS = 32
MAX_FILES = 1000
MAX_FILE_BYTES = 8 * 1024 * 1024  # of all files
MAX_DOCKERFILE_BYTES = 1024 * 1024
MAX_PACKAGES = 1000
MAX_REPOSITORIES = 100
MAX_PEOPLE = 1000  # users, and groups
MAX_NAME = 32  # of a user or a group, as Linux has it
MAX_ID = 65535
MAX_SYSTEM_ID = 999
MAX_READY_TIMEOUT = 3600.0
MAX_TEXT = 4096

RESERVED_GROUPS = frozenset(
    {"root", "daemon", "bin", "sys", "adm", "tty", "disk", "lp", "mail", "shadow", "utmp", "nogroup", "systemd-journal"}
)
_FORBIDDEN = ("/proc", "/sys", "/dev")  # what the kernel shows there is no file to be kept

_NAME = re.compile(r"[a-z_][a-z0-9_-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+](:[a-z0-9-]+)?([=/][A-Za-z0-9][A-Za-z0-9.+:~-]*)?")
_CONTROL = re.compile(r"[\0-\x1f\x7f\ud800-\udfff]")  # and half characters, which are no text
_NO_PATH = re.compile(r"[\0\ud800-\udfff]")


def check(recipe: Recipe, limits: settings.Machines) -> None:
    """`Flawed`, naming the layer and the field, for what no machine could be made of."""
    _check_base(recipe.base)
    layers = recipe.layers
    if len(layers) > MAX_LAYERS:
        raise Flawed(f"the recipe has {len(layers)} layers: at most {MAX_LAYERS}")
    _check_files(layers)
    _check_people(layers)
    for layer in layers:
        _check_sizes(layer, limits)
        _check_packages(layer.packages)
        _check_git(layer.git)
        _check_repositories(layer.repositories)
        _check_services(layer)
        if layer.workdir is not None:
            check_place("workdir", layer.workdir, "workdir_empty" if not layer.workdir else "invalid_request")
        if layer.discriminator is not None and len(layer.discriminator) > MAX_TEXT:
            raise Flawed(f"the discriminator is longer than {MAX_TEXT} characters")
        if layer.ready_timeout is not None and not 0 < layer.ready_timeout <= MAX_READY_TIMEOUT:
            raise Flawed(f"the time to get ready is more than 0 s and at most {MAX_READY_TIMEOUT:g} s")


def check_place(what: str, path: str, flaw: str = "invalid_request") -> None:
    """A place for something of a layer's. Where the guest's own symlinks lead is the guest's affair."""
    normal = normalized(path)
    if not path.startswith("/") or _NO_PATH.search(path) or len(path.encode(errors="replace")) > MAX_TEXT:
        raise Flawed(f"{what} {_shown(path)}: use an absolute path of at most {MAX_TEXT} bytes, without NUL", flaw)
    if ".." in path.split("/"):
        raise Flawed(f"{what} {_shown(path)}: leave out '..', and name the place itself", flaw)
    if any(normal == it or normal.startswith(f"{it}/") for it in _FORBIDDEN):
        raise Flawed(
            f"{what} {_shown(path)}: what is below {', '.join(_FORBIDDEN)} is the kernel's, and not kept", flaw
        )


def normalized(path: str) -> str:
    """The plainest form of an absolute path."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _check_base(base: Base) -> None:
    given = [name for name in ("snapshot", "image", "dockerfile") if getattr(base, name) is not None]
    if len(given) > 1:
        raise Flawed(f"{given[0]} and {given[1]}: a recipe stands on one of them", "conflicting_spec_sources_error")
    if base.dockerfile is not None and len(base.dockerfile.encode(errors="replace")) > MAX_DOCKERFILE_BYTES:
        raise Flawed(f"the Dockerfile has more than {MAX_DOCKERFILE_BYTES} bytes")
    if base.image is not None and not base.image.strip():
        raise Flawed("image is empty: name one, for example debian or python:3.12")


def _check_files(layers: Sequence[Layer]) -> None:
    files = [file for layer in layers for file in layer.files]
    if len(files) > MAX_FILES:
        raise Flawed(f"files: {len(files)} given, at most {MAX_FILES}; put them into an image or a repository")
    size = sum(len(file.content) for file in files)
    if size > MAX_FILE_BYTES:
        raise Flawed(
            f"files have {size} bytes in all: at most {MAX_FILE_BYTES}; put them into an image or a repository"
        )
    for file in files:
        check_place("file", file.path)
        if posixpath.basename(file.path) in ("", "."):
            raise Flawed(f"file {_shown(file.path)}: this names a directory")
        if not 0 <= file.mode <= 0o7777:
            raise Flawed(f"file {_shown(file.path)}: mode {file.mode:o} is none: 0 to 7777 (octal)")
    for layer in layers:
        _check_once("file", (normalized(file.path) for file in layer.files))


def _check_sizes(layer: Layer, limits: settings.Machines) -> None:
    for what, unit, asked, least, most in (
        ("cpus", "", layer.cpus, 1, limits.max_cpus),
        ("memory", " MiB", layer.memory_mib, limits.min_memory_mib, None),
        ("disk", " GiB", layer.disk_gib, 1, requests.MAX_DISK_GIB),
    ):
        if asked is not None and (asked < least or (most is not None and asked > most)):
            bounds = f"at least {least}{unit}" + (f", at most {most}{unit}" if most is not None else "")
            raise Flawed(f"{what} is {asked}{unit}: {bounds}")


def _check_people(layers: Sequence[Layer]) -> None:
    groups = [group for layer in layers for group in layer.groups]
    users = [user for layer in layers for user in layer.users]
    for what, found in (("groups", groups), ("users", users)):
        if len(found) > MAX_PEOPLE:
            raise Flawed(f"{what}: {len(found)} given, at most {MAX_PEOPLE}", "validation_error")
    for group in groups:
        _check_group(group)
    for user in users:
        _check_user(user)
    _check_once("group name", (group.name for group in groups), "duplicate_group_name")
    _check_once("user name", (user.name for user in users), "duplicate_user_name")


def _check_group(group: Group) -> None:
    name = group.name
    if not name:
        raise Flawed("a group's name is empty", "group_name_empty")
    if len(name) > MAX_NAME:
        raise Flawed(f"group name {_shown(name)} is too long: at most {MAX_NAME} characters", "group_name_too_long")
    if not _NAME.fullmatch(name):
        message = f"group name {_shown(name)} has characters it may not: it must match {_NAME.pattern}"
        raise Flawed(message, "group_name_invalid_chars")
    if name in RESERVED_GROUPS:
        raise Flawed(f"group name {name} is reserved: every guest has it already", "group_name_reserved")
    if group.gid is not None and not 0 <= group.gid <= MAX_ID:
        raise Flawed(f"group {name}: gid {group.gid} is none: 0 to {MAX_ID}", "validation_error")
    if group.system and group.gid is not None and group.gid > MAX_SYSTEM_ID:
        message = f"group {name} is a system group, but its gid {group.gid} is above {MAX_SYSTEM_ID}"
        raise Flawed(message, "validation_error")


def _check_user(user: User) -> None:
    name = user.name
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME or name == "root":
        message = f"user name {_shown(name)}: use 1 to {MAX_NAME} characters that match {_NAME.pattern}, and not root"
        raise Flawed(message, "validation_error")
    if user.uid is not None and not 0 <= user.uid <= MAX_ID:
        raise Flawed(f"user {name}: uid {user.uid} is none: 0 to {MAX_ID}", "user_uid_out_of_range")
    if user.system and user.uid is not None and user.uid > MAX_SYSTEM_ID:
        message = f"user {name} is a system user, but its uid {user.uid} is above {MAX_SYSTEM_ID}"
        raise Flawed(message, "user_system_flag_mismatch")
    for group in user.groups:
        if not group:
            raise Flawed(f"user {name}: one of its groups is an empty string", "user_group_empty")
        if not _NAME.fullmatch(group) or len(group) > MAX_NAME:
            raise Flawed(f"user {name}: {_shown(group)} is not a group's name", "validation_error")
    for what, path, flaw in (("home", user.home, "user_home_invalid"), ("shell", user.shell, "user_shell_invalid")):
        if path is None:
            continue
        if not path.startswith("/") or ":" in path or _CONTROL.search(path) or len(path) > MAX_TEXT:
            raise Flawed(f"user {name}: {what} {_shown(path)} is not an absolute path without colons", flaw)
    if user.home is not None:
        check_place(f"user {name}: home", user.home, "user_home_invalid")
    if user.comment is not None and (":" in user.comment or _CONTROL.search(user.comment)):
        raise Flawed(f"user {name}: its comment may hold no colon and no control character", "validation_error")


def _check_packages(packages: Sequence[str]) -> None:
    if len(packages) > MAX_PACKAGES:
        raise Flawed(f"packages: {len(packages)} given, at most {MAX_PACKAGES}")
    for package in packages:
        if len(package) > 256 or not _PACKAGE.fullmatch(package):
            raise Flawed(f"package {_shown(package)}: use a name as apt-get takes it: curl, curl:amd64, curl=7.88.1-10")


def _check_git(git: GitIdentity | None) -> None:
    for what, value in (("name", git.name), ("email", git.email), ("signing key", git.signing_key)) if git else ():
        if value is not None and (_CONTROL.search(value) or len(value) > MAX_TEXT):
            raise Flawed(f"git: the {what} is too long, or holds a control character")


def _check_repositories(repositories: Sequence[Repository]) -> None:
    if len(repositories) > MAX_REPOSITORIES:
        raise Flawed(f"repositories: {len(repositories)} given, at most {MAX_REPOSITORIES}")
    for repository in repositories:
        check_place("repository: path", repository.path)
        for what, value in (("address", repository.url), ("rev", repository.rev)):
            if value is not None and (not value or value[0] == "-" or _CONTROL.search(value) or len(value) > MAX_TEXT):
                raise Flawed(f"repository at {_shown(repository.path)}: its {what} is empty, or none that git can take")
    _check_once("repository at", (normalized(it.path) for it in repositories))


def _check_services(layer: Layer) -> None:
    for unit in layer.units:
        units.render(unit)
    for patch in layer.patches:
        units.unit_of(patch.name)
        units.typed(patch.changes)
    _check_once("service", (units.unit_of(unit.name) for unit in layer.units))


def _check_once(what: str, names: Iterable[str], flaw: str = "invalid_request") -> None:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise Flawed(f"{what} {_shown(name)} is given twice", flaw)
        seen.add(name)


def _shown(text: str) -> str:
    """A caller's own words, cut, with what cannot be seen escaped."""
    return ascii(text if len(text) <= 80 else text[:77] + "…")
