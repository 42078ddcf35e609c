"""Debian packages of a layer, by the guest's own apt and from where that is told to get them."""

from collections.abc import Sequence

from hutch.control.building.site import Site
from hutch.model import errors

_ENV = {"DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none"}
_OPTIONS = (
    *("-o", "APT::Update::Error-Mode=any"),  # else a mirror that cannot be reached is a warning
    *("-o", "DPkg::Lock::Timeout=60"),
    *("-o", "Dpkg::Options::=--force-confold"),  # nobody is there to be asked about a changed file
)


async def install(site: Site, packages: Sequence[str]) -> None:
    """`Unsupported` for a guest without apt; `CommandFailed` with apt's words."""
    if await site.find("apt-get") is None:
        raise errors.Unsupported("the guest has no apt-get: packages can be installed only in Debian and its like")
    await site.do("apt-get update", "apt-get", "-q", *_OPTIONS, "update", env=_ENV)
    argv = ("apt-get", "-qy", *_OPTIONS, "install", "--no-install-recommends", "--", *packages)
    await site.do("apt-get install", *argv, env=_ENV)
