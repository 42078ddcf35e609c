"""What the control plane asks of whoever sends its messages. The only part of `notify` that `control` imports.

`http.py` is the real one, `memory.py` a fake that keeps what it is given.
"""

from collections.abc import Mapping
from typing import Protocol

from hutch.model import errors


class NotSent(errors.HutchError):
    """The message did not arrive."""


class Sender(Protocol):
    """Sends messages to addresses that tenants have named: nothing of the host itself may be reached this way."""

    async def check(self, url: str) -> None:
        """`InvalidRequest`, naming why, for a URL that is none, or that leads to an address that may not be reached.

        A name that cannot be resolved now is none of these: it is looked at again when something is sent.
        """

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status that was answered; the rest of the answer is not read, and a redirect is not followed.

        `NotSent` if nothing answered, or if the address may not be reached. The caller limits the time.
        """
