"""What the instructions of a stage have said so far of how the next ones act, and of what comes out. Pure."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hutch.control import requests
from hutch.control.dockerfile import stages
from hutch.control.dockerfile.reading import Instruction
from hutch.host.interface import ImageConfig
from hutch.model import errors

SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class State:
    """`env` is all that processes get; `set_env` what the Dockerfile itself has set, to be laid over the image's."""

    env: Mapping[str, str] = field(default_factory=dict)
    set_env: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str | None = None  # None: the image's
    shell: tuple[str, ...] = SHELL
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    has_command: bool = False  # the Dockerfile itself says what is to run
    has_cmd: bool = False
    has_workdir: bool = False
    has_user: bool = False

    @property
    def variables(self) -> Mapping[str, str]:
        """For words: an ENV goes before an ARG of the same name."""
        return {**self.args, **self.env}

    @property
    def command(self) -> tuple[str, ...] | None:
        """What a machine of it is to run, if the Dockerfile says so."""
        return (*self.entrypoint, *self.cmd) or None if self.has_command else None

    @staticmethod
    def of(image: ImageConfig) -> "State":
        """As an image begins."""
        return State(
            env=dict(image.env or {}),
            workdir=image.workdir or "/",
            user=image.user,
            shell=image.shell or SHELL,
            entrypoint=image.entrypoint,
            cmd=image.cmd,
        )

    def next_stage(self) -> "State":
        """As a stage begins that stands on this one: arguments end with their stage."""
        return replace(self, args={}, has_cmd=False)

    def after(self, instruction: Instruction, escape: str, known: Mapping[str, str]) -> "State":
        """As it is then. `known` are the arguments from before the first FROM. `Flawed`."""
        return _AFTER[instruction.name](self, _Said(instruction, self.variables, escape, known))


@dataclass(frozen=True, slots=True)
class _Said:
    instruction: Instruction
    env: Mapping[str, str]
    escape: str
    known: Mapping[str, str]

    def expanded(self, word: str) -> str:
        return stages.expanded(self.instruction, word, self.env, self.escape)

    def only(self, what: str) -> str:
        """The one word it has."""
        given = self.instruction.words
        word = self.expanded(given[0]) if len(given) == 1 else ""
        if not word or "\0" in word:
            raise self.instruction.flaw(f"it takes {what}")
        return word

    def pairs(self) -> dict[str, str]:
        given = self.instruction.words
        if not given or len(given) % 2:
            raise self.instruction.flaw("it takes NAME=VALUE")
        its = stages.all_expanded(self.instruction, given, self.env, self.escape)
        found = dict(zip(its[::2], its[1::2], strict=True))
        if "" in found:
            raise self.instruction.flaw("a name is empty")
        return found


def _arg(state: State, said: _Said) -> State:
    args = dict(state.args)
    for name, value in stages.arguments(said.instruction, said.env, said.escape):
        given = said.known.get(name) if value is None else value
        if given is not None:
            args[name] = given
    return replace(state, args=_checked(said, args))


def _env(state: State, said: _Said) -> State:
    pairs = said.pairs()
    return replace(state, env=_checked(said, {**state.env, **pairs}), set_env={**state.set_env, **pairs})


def _checked(said: _Said, env: dict[str, str]) -> dict[str, str]:
    if len(env) > stages.MOST_VARIABLES:
        raise said.instruction.flaw(f"more than {stages.MOST_VARIABLES} variables")
    try:
        requests.check_env(env)
    except errors.InvalidRequest as error:
        raise said.instruction.flaw(error.message) from None
    return env


def _workdir(state: State, said: _Said) -> State:
    path = posixpath.normpath(posixpath.join(state.workdir, said.only("a directory")))
    path = "/" + path.lstrip("/")
    try:
        requests.check_path("path", path)
    except errors.InvalidRequest as error:
        raise said.instruction.flaw(error.message) from None
    return replace(state, workdir=path, has_workdir=True)


def _user(state: State, said: _Said) -> State:
    user = said.only("USER or USER:GROUP")
    if len(user) > 256:
        raise said.instruction.flaw("it takes USER or USER:GROUP")
    return replace(state, user=user, has_user=True)


def _shell(state: State, said: _Said) -> State:
    if not said.instruction.is_json or not any(said.instruction.words[:1]):
        raise said.instruction.flaw('it takes a list in JSON, such as ["/bin/bash", "-c"]')
    return replace(state, shell=said.instruction.words)


def _cmd(state: State, said: _Said) -> State:
    return replace(state, cmd=_command(state, said), has_command=True, has_cmd=True)


def _entrypoint(state: State, said: _Said) -> State:
    """A CMD of the image it stands on was for another program, and nothing is added to a line for the shell."""
    keeps = state.has_cmd and said.instruction.is_json
    return replace(state, entrypoint=_command(state, said), cmd=state.cmd if keeps else (), has_command=True)


def _command(state: State, said: _Said) -> tuple[str, ...]:
    given = said.instruction.words
    if said.instruction.is_json or not given:
        return given
    return (*state.shell, given[0])


def _same(state: State, said: _Said) -> State:
    return state


_AFTER = {
    "ARG": _arg,
    "ENV": _env,
    "WORKDIR": _workdir,
    "USER": _user,
    "SHELL": _shell,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    **dict.fromkeys(stages.IDLE, _same),
}
