"""Groups and users of a layer: made with the guest's own tools, those of shadow or those of busybox."""

from collections.abc import Sequence

from hutch.control.building.site import Site
from hutch.model import errors
from hutch.model.recipes import Group, User

GROUPS = "/etc/group"


async def make_groups(site: Site, groups: Sequence[Group]) -> None:
    """In this order. `Unsupported` for a guest that has no tool for it."""
    tool = await _find(site, "groupadd", "addgroup")
    for group in groups:
        options = ["-r" if tool == "groupadd" else "-S"] if group.system else []
        if group.gid is not None:
            options += ["-g", str(group.gid)]
        await site.do(f"making group {group.name}: {tool}", tool, *options, group.name)


async def make_users(site: Site, users: Sequence[User]) -> None:
    """The same for users. Each has a group of its own name, which may be there already."""
    tool = await _find(site, "useradd", "adduser")
    for user in users:
        has_group = user.name in await site.names_in(GROUPS)
        if tool == "useradd":
            await site.do(f"making user {user.name}: {tool}", tool, *_of_shadow(user, has_group), user.name)
            continue
        await site.do(f"making user {user.name}: {tool}", tool, *_of_busybox(user, has_group), user.name)
        for group in _others(user):
            await site.do(f"putting user {user.name} into group {group}: addgroup", "addgroup", user.name, group)


async def _find(site: Site, *tools: str) -> str:
    tool = await site.find(*tools)
    if tool is None:
        raise errors.Unsupported(f"the guest has neither {' nor '.join(tools)}: no users or groups can be made in it")
    return tool


def _of_shadow(user: User, has_group: bool) -> list[str]:
    options = ["-r"] if user.system else []
    options += ["-m"] if not user.system or user.home is not None else []
    options += ["-g", user.name] if has_group else ["-U"]
    for flag, value in (
        ("-u", user.uid),
        ("-c", user.comment),
        ("-d", user.home),
        ("-s", user.shell),
        ("-G", ",".join(_others(user)) or None),
    ):
        options += [] if value is None else [flag, str(value)]
    return options


def _others(user: User) -> list[str]:
    return [group for group in user.groups if group != user.name]


def _of_busybox(user: User, has_group: bool) -> list[str]:
    options = ["-D"]
    options += ["-S"] if user.system else []
    options += ["-H"] if user.system and user.home is None else []
    options += ["-G", user.name] if has_group else []
    for flag, value in (("-u", user.uid), ("-g", user.comment), ("-h", user.home), ("-s", user.shell)):
        options += [] if value is None else [flag, str(value)]
    return options
