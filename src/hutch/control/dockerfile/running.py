"""A RUN in a build machine: as the user, in the directory, the environment and the shell of its place."""

import posixpath
from collections.abc import Callable

from hutch.control.commands import Command
from hutch.control.dockerfile.forms import Mount, Run, Scratch
from hutch.control.dockerfile.state import State
from hutch.control.inside import CommandFailed, Inside, Tell

Expand = Callable[[str], str]

SCRIPT = "/.hutch-run"
"""Where a heredoc that is a program of its own lies while it runs."""

_BACKING = "/.hutch-mount"
_MOUNT = """
set -eu
mkdir -p -- "$2"
case $1 in
cache) mkdir -p -- "$3"; chmod "$4" "$3"; chown "$5" "$3"; mount -o bind "$3" "$2" ;;
tmpfs) mount -t tmpfs -o "$6" tmpfs "$2" ;;
esac
"""
_UNMOUNT = 'umount "$1" || umount -l "$1"; rm -rf -- "$2"'
_END = 'kill -9 -- -"$1" 2>/dev/null || :'


async def run(inside: Inside, form: Run, state: State, expand: Expand, tell: Tell) -> None:
    """Do it. `CommandFailed` unless it ends with 0. It has as long as the build has.

    What it leaves running in its process group ends with it, as it would with a container.
    """
    mounts = [(mount, _target(expand(mount.target), state), f"{_BACKING}{at}") for at, mount in enumerate(form.mounts)]
    for mount, target, backing in mounts:
        await _shell(inside, _MOUNT, *_mount_words(mount, target, backing), what=f"mounting {target}")
    if form.script:
        await inside.write(SCRIPT, form.script.encode(), 0o755)
    argv = form.argv or ((SCRIPT,) if form.script else (*state.shell, form.line))
    command = Command(argv=argv, env=state.variables, cwd=state.workdir, user=state.user)
    ran = await inside.run(command, tell)
    if ran.pid:
        await _shell(inside, _END, str(ran.pid), what="ending what was left running")
    if ran.exit.code != 0:
        raise CommandFailed("the command", ran)
    if form.script:
        await inside.remove(SCRIPT)
    for _, target, backing in reversed(mounts):
        await _shell(inside, _UNMOUNT, target, backing, what=f"unmounting {target}")


def _target(path: str, state: State) -> str:
    return posixpath.normpath(posixpath.join(state.workdir, path))


def _mount_words(mount: Mount, target: str, backing: str) -> tuple[str, ...]:
    owner = f"{mount.uid or 0}:{mount.gid or 0}"
    if mount.kind is Scratch.CACHE:
        return (mount.kind, target, backing, mount.mode or "0755", owner, "")
    options = [f"mode={mount.mode or '1777'}", f"uid={mount.uid or 0}", f"gid={mount.gid or 0}"]
    if mount.size:
        options.append(f"size={mount.size.removesuffix('b')}")
    return (mount.kind, target, backing, "", "", ",".join(options))


async def _shell(inside: Inside, script: str, *words: str, what: str) -> None:
    command = Command(argv=("sh", "-c", script, "sh", *words), user="root", cwd="/", timeout=300.0)
    await inside.check(command, what)
