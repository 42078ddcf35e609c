"""Makes the built-in image with mmdebstrap, which needs no running system of its own and takes seconds."""

import os
import re
from pathlib import Path

from hutch import commands
from hutch.host.images import rootfs
from hutch.host.images.debian import recipe
from hutch.host.images.source import ROOT_IMAGE, Made
from hutch.host.interface import ImageConfig, OnProgress, Progress
from hutch.model import errors
from hutch.model.machine import ImageRef
from hutch.model.recipes import Credentials

NAME = "debian"
_QUERY_TIMEOUT = 60.0
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Whatever mmdebstrap starts or mounts ends with it."""


class Debian:
    """The plain name `debian`; `debian:12` is Docker's image of that name and comes from its registry."""

    def __init__(self, mirror: str, timeout: float) -> None:
        self._mirror = mirror
        self._timeout = timeout

    def claims(self, reference: str) -> bool:
        """Only the plain name."""
        return reference == NAME

    def canonical(self, reference: str) -> str:
        """The plain name is all there is."""
        return reference

    def familiar(self, canonical: str) -> str:
        """The plain name."""
        return canonical

    def pinned(self, canonical: str) -> str | None:
        """It depends on the recipe of this installation."""
        return None

    def at(self, canonical: str, digest: str) -> str:
        """For people: it cannot be asked for."""
        return f"{NAME}@{digest}"

    async def resolve(self, canonical: str, credentials: Credentials | None) -> str:
        """The digest of the recipe, not of the result: packages of the day make the same image."""
        return recipe.digest(self._mirror)

    async def make(self, ref: ImageRef, work: Path, on_progress: OnProgress, credentials: Credentials | None) -> Made:
        """Install the packages into a directory, adapt it, make the file system of it."""
        if ref.digest != recipe.digest(self._mirror):
            raise errors.ImageUnavailable(f"the built-in image {ref.digest} is of another version and no longer here")
        phase = "installing Debian"
        on_progress(Progress(phase))
        tree = work / "tree"

        def tell(line: str) -> None:
            if line.startswith("I: "):
                on_progress(Progress(f"{phase}: {line[3:].rstrip('.')}"))

        sources = [self._mirror] if self._mirror else await host_sources()
        try:
            await commands.run(
                [*_NAMESPACES, *mmdebstrap_argv(tree, sources)],
                timeout=self._timeout,
                env={"TMPDIR": str(work), "DEBIAN_FRONTEND": "noninteractive"},
                on_stderr_line=tell,
            )
        except commands.CommandTimedOut as error:
            raise errors.ImageUnavailable(f"{NAME}: not installed within {self._timeout:g} s") from error
        except commands.CommandFailed as error:
            if "no space left on device" in error.stderr.lower():
                raise
            raise errors.ImageUnavailable(f"{NAME}: {words(error.stderr)}") from error
        adapt(tree)
        on_progress(Progress("building root image"))
        image = work / ROOT_IMAGE
        argv = rootfs.mkfs_argv(image, await rootfs.usage_of_tree(tree), tree)
        await commands.run(argv, timeout=rootfs.MAKE_TIMEOUT)
        return Made(image, ImageConfig(env=recipe.ENV))


def mmdebstrap_argv(tree: Path, sources: list[str]) -> list[str]:
    """Without sources mmdebstrap takes deb.debian.org with updates and security."""
    argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory"]
    argv += [f"--include={','.join(recipe.PACKAGES)}"]
    argv += [f"--dpkgopt={option}" for option in recipe.DPKG_OPTIONS]
    return [*argv, recipe.SUITE, str(tree), *sources]


async def host_sources() -> list[str]:
    """The host's own apt sources of this suite, as one-line entries: a mirror chosen for the host serves guests too.

    Empty if the host is of another suite or has no package lists.
    """
    form = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    listed = await commands.run(argv, timeout=_QUERY_TIMEOUT, check=False)
    return parse_index_targets(listed.stdout.decode(errors="replace"))


def parse_index_targets(listed: str) -> list[str]:
    """Debian's own archives of our suite among `ORIGIN|CODENAME|URI|RELEASE|COMPONENT` lines."""
    suites = (recipe.SUITE, f"{recipe.SUITE}-updates", f"{recipe.SUITE}-security")
    entries: dict[tuple[str, str], list[str]] = {}
    for line in listed.splitlines():
        origin, codename, uri, release, component = (line.split("|") + [""] * 5)[:5]
        if origin == "Debian" and codename in suites and re.match(r"https?://", uri):
            components = entries.setdefault((uri.rstrip("/"), release), [])
            if component not in components:
                components.append(component)
    found = [f"deb {uri} {release} {' '.join(sorted(names))}" for (uri, release), names in sorted(entries.items())]
    return found if any(f" {recipe.SUITE} " in entry for entry in found) else []


def words(stderr: str) -> str:
    """What mmdebstrap's own errors say: apt's lines, else its last one."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = [line.partition(": ")[2] for line in lines if line.startswith("E: ")]
    return "; ".join(said[:3])[:500] or (lines or ["mmdebstrap failed"])[-1]


def adapt(tree: Path) -> None:
    """Lay the recipe's files over the installed tree and mask its units. The tree is Debian's own, so it is trusted."""
    system = tree / "etc/systemd/system"
    links = {system / unit: "/dev/null" for unit in recipe.MASKED_UNITS}
    links |= {tree / "etc/systemd/system-generators" / name: "/dev/null" for name in recipe.MASKED_GENERATORS}
    links[system / "default.target"] = f"/lib/systemd/system/{recipe.DEFAULT_TARGET}"
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    for unit in recipe.ON_DEMAND_UNITS:
        (tree / "usr/lib/systemd/system/multi-user.target.wants" / unit).unlink(missing_ok=True)
    for name, content in recipe.FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content)
        path.chmod(0o644)
    for log in ("bootstrap.log", "dpkg.log", "alternatives.log", "apt/history.log", "apt/term.log"):
        (tree / "var/log" / log).unlink(missing_ok=True)
    newest = (tree / "usr").stat().st_mtime
    for name in ("etc/.updated", "var/.updated"):
        os.utime(tree / name, (newest, newest))
