"""What every source of images offers. A source is one module and one line in the table of `local.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hutch.host.interface import ImageConfig, OnProgress
from hutch.model.machine import ImageRef
from hutch.model.recipes import Credentials

ROOT_IMAGE = "root.ext4"


@dataclass(frozen=True, slots=True)
class Made:
    """A root image that has just been made, not yet in its place."""

    root: Path
    config: ImageConfig
    is_private: bool = False  # it could be had only with a caller's credentials, or so it seems


class Source(Protocol):
    """Where some images come from."""

    def claims(self, reference: str) -> bool:
        """Whether references like this one are this source's. The first source of the table that says so has it."""

    def canonical(self, reference: str) -> str:
        """The reference in full. Raises `InvalidRequest`."""

    def familiar(self, canonical: str) -> str:
        """A canonical reference as a person would write it."""

    def pinned(self, canonical: str) -> str | None:
        """The digest that the reference itself names, if it does."""

    def at(self, canonical: str, digest: str) -> str:
        """The same, pinned to a digest."""

    async def resolve(self, canonical: str, credentials: Credentials | None) -> str:
        """The digest it means now. Raises `ImageUnavailable`."""

    async def make(self, ref: ImageRef, work: Path, on_progress: OnProgress, credentials: Credentials | None) -> Made:
        """Make the root image inside `work`, an empty directory that the caller removes.

        Raises `ImageUnavailable`, `DiskFull`, `Unsupported`.
        """
