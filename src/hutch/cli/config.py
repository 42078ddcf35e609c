"""Which service the CLI talks to, and with which key.

HUTCH_URL and HUTCH_KEY come first, then the file that `hutch up` writes into the home, readable by its owner only.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hutch.cli.failure import Failure


@dataclass(frozen=True)
class Config:
    """A service and a key; the key is kept out of every representation."""

    url: str
    key: str

    def __repr__(self) -> str:
        return f"Config({self.url!r})"


def path(home: Path) -> Path:
    """Where the file is."""
    return home / "config.json"


def read(home: Path) -> Config | None:
    """What the file says, None if there is none."""
    try:
        data = json.loads(path(home).read_text())
        return Config(data["url"], data["key"])
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Failure(
            f"{path(home)} is not readable to you", "run as its owner, or set HUTCH_URL and HUTCH_KEY"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise Failure(f"{path(home)} is damaged", "remove it and run `hutch up` again") from None


def write(home: Path, config: Config) -> None:
    """Replace the file whole; it is never readable to others, not even for a moment."""
    target = path(home)
    fresh = target.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"url": config.url, "key": config.key}, file, indent=1)
    fresh.rename(target)


def find(home: Path, default_url: str, environment: Mapping[str, str] = os.environ) -> Config:
    """The service and key to use. The file's key is never sent to another service than the file's."""
    url, key = environment.get("HUTCH_URL"), environment.get("HUTCH_KEY")
    if url and key:
        return Config(url, key)
    written = read(home)
    if url:
        return Config(url, written.key if written and written.url == url.rstrip("/") else "")
    return Config(written.url if written else default_url, key or (written.key if written else ""))
