"""The curl lines of a document, run as they stand, but for where the service is, the key and the ids."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

LIMIT = 300


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@dataclass(frozen=True)
class Answer:
    """What curl was answered."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def run(line: str, changes: Mapping[str, str]) -> Answer:
    """A line in a shell; `changes` are what stands in the document, and what it is here."""
    for documented, real in changes.items():
        line = line.replace(documented, real)
    done = subprocess.run(
        ["bash", "-c", f"{line.strip()} -sS -w '\\n%{{http_code}}'"],
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, (line, done.stderr)
    text, _, status = done.stdout.rpartition("\n")
    return Answer(int(status), text)
