"""What the control plane asks of whoever sends its messages and reads proofs. Of `notify` it imports only this.

`http.py` and `proofs.py` are the real ones, `memory.py` has fakes that keep what they are given.
"""

from collections.abc import Mapping, Sequence
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


class Proofs(Protocol):
    """Reads what the owner of a name can publish under it."""

    async def texts(self, name: str) -> Sequence[str]:
        """Its TXT records; none if it has none or is not there. `NotSent` if no name server answered in time."""

    async def page(self, url: str) -> str:
        """The beginning of what a GET answers with 200, as text.

        `NotSent` for another status (a redirect is not followed), if nothing answered in time, or if the address may
        not be reached: beside what is refused to messages, that is any private one.
        """
