"""A guest that is asked to do things, and answers as a test says."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hutch.control.building.site import Site
from hutch.control.commands import Command
from hutch.control.inside import CommandFailed, Ran, Tell, tell_nobody
from hutch.model.guest import Exit


@dataclass
class Guest:
    """`has` are its programs; `answer` says what a command ends with and writes, and else it ends well."""

    has: set[str]
    groups: str = "root:x:0:\n"
    answer: Callable[[tuple[str, ...]], tuple[int, str]] = lambda argv: (0, "")
    done: list[tuple[str, ...]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    told: bytearray = field(default_factory=bytearray)
    machine: str = "m"

    async def run(self, command: Command, tell: Tell = tell_nobody) -> Ran:
        argv = command.argv or ()
        if argv[0] == "sh":
            found = next((it for it in argv[4:] if it in self.has), "")
            return Ran(Exit(code=0), found.encode(), b"", found)
        self.done.append(argv)
        self.commands.append(command)
        code, text = self.answer(argv)
        tell(text.encode())
        return Ran(Exit(code=code), b"", text.encode(), text)

    async def check(self, command: Command, what: str = "", tell: Tell = tell_nobody) -> bytes:
        ran = await self.run(command, tell)
        if ran.exit.code != 0:
            raise CommandFailed(what, ran)
        return ran.stdout

    async def read(self, path: str) -> bytes:
        return self.groups.encode()

    @property
    def site(self) -> Site:
        def tell(data: bytes) -> None:
            self.told += data

        return Site(self, None, None, tell)  # type: ignore[arg-type]
