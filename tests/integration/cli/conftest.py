"""The command line as a person uses it: a process of its own, against a service on the simulated host."""

import contextlib
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

import live
from hutch.client import Hutch, NewMachine, errors

LIMIT = 30
HUTCH = [sys.executable, "-m", "hutch.cli.main"]


@dataclass(frozen=True)
class Cli:
    """`hutch`, finding its service by HUTCH_HOME alone unless `environment` says otherwise."""

    environment: Mapping[str, str]
    spawned: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(
        self, *words: str, code: int = 0, stdin: bytes | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it; the test fails unless it ends with `code`."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            [*HUTCH, *words], env={**self.environment, **environment}, capture_output=True, timeout=LIMIT, **given
        )
        assert done.returncode == code, done
        return done

    def text(self, *words: str, **given: Any) -> str:
        """What it prints, without the last line's end."""
        return self(*words, **given).stdout.decode().strip()

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Run it beside the test, with the signals of a foreground command whatever started the tests."""
        process = subprocess.Popen(
            [*HUTCH, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.spawned.append(process)
        return process

    def end(self) -> None:
        """Nothing that was spawned is left."""
        for process in self.spawned:
            process.kill()
            with contextlib.suppress(ValueError):  # whose output was read and closed by the test
                process.communicate()
            process.wait(LIMIT)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    with live.simulated(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def hutch(service: live.Live) -> Iterator[Cli]:
    cli = Cli(service.environment)
    yield cli
    cli.end()


@pytest.fixture
def sdk(service: live.Live) -> Iterator[Hutch]:
    """For what a test needs but is not about: a process of the CLI takes half a second."""
    with Hutch(service.url, service.key) as client:
        yield client


@pytest.fixture
def machine(sdk: Hutch) -> Iterator[str]:
    """A machine's name."""
    name = f"m-{uuid.uuid4().hex[:12]}"
    sdk.machines.create(NewMachine("debian", name=name))
    yield name
    with contextlib.suppress(errors.NotFound):
        sdk.machines.delete(name)


@pytest.fixture
def names(sdk: Hutch) -> Callable[[], set[str]]:
    """The machines there are."""
    return lambda: {it.name for it in sdk.machines.list()}
