"""Where a layer is made: a running build machine, and how commands are run in it.

Nothing of a recipe's goes through a shell: it is an argument of its own, or a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hutch.control.commands import Command
from hutch.control.inside import Inside, Ran, Tell
from hutch.control.keys import Principal
from hutch.control.services import Services
from hutch.model import errors

_FIND = 'for it in "$@"; do if command -v "$it" >/dev/null; then echo "$it"; exit; fi; done'


@dataclass(frozen=True, slots=True)
class Site:
    """One machine, for one layer after the other."""

    inside: Inside
    services: Services
    principal: Principal
    tell: Tell

    async def do(self, what: str, *argv: str, env: Mapping[str, str] | None = None, tell: Tell | None = None) -> bytes:
        """Run this as root to its end, for its stdout. `CommandFailed` names `what`, and tells the end of its output.

        It has as long as the build has.
        """
        return await self.inside.check(self._command(argv, env), what, tell or self.tell)

    async def attempt(self, *argv: str, env: Mapping[str, str] | None = None, tell: Tell | None = None) -> Ran:
        """The same, however it ends."""
        return await self.inside.run(self._command(argv, env), tell or self.tell)

    @staticmethod
    def _command(argv: tuple[str, ...], env: Mapping[str, str] | None) -> Command:
        return Command(argv=argv, user="root", cwd="/", env={"LC_ALL": "C.UTF-8", **(env or {})})

    async def find(self, *programs: str) -> str | None:
        """The first of these that the guest has."""
        found = await self.do("looking for programs", "sh", "-c", _FIND, "sh", *programs)
        return found.decode(errors="replace").strip() or None

    async def names_in(self, path: str) -> set[str]:
        """The names in a file like /etc/group; none if there is no such file."""
        try:
            content = await self.inside.read(path)
        except errors.GuestNotFound:
            return set()
        return {line.split(":")[0] for line in content.decode(errors="replace").splitlines()}
