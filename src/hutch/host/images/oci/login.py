"""A caller's credentials, for the time of one question to the registry they are of.

They are in a file that only memory holds and that has no name: skopeo reads it by its descriptor. So they are in no
argument, no variable, no log, and not on any disk.
"""

import base64
import contextlib
import json
import os
from collections.abc import Iterator

from hutch.host.images.reference import Reference
from hutch.model import errors
from hutch.model.recipes import Credentials

_DOCKER = frozenset(
    {"", "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com"}
)


def are_for(ref: Reference, credentials: Credentials | None) -> bool:
    """Whether these are of the registry that an image is in."""
    return credentials is not None and _domain(credentials.registry) == ref.domain


def _domain(registry: str) -> str:
    """The registry's HOST[:PORT] in what people write for it, a URL too."""
    domain = registry.strip().removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
    return "docker.io" if domain in _DOCKER else domain


@contextlib.contextmanager
def shown(ref: Reference, credentials: Credentials | None) -> Iterator[int | None]:
    """The descriptor of what skopeo calls an authfile; None if these are for another registry."""
    if credentials is None or not are_for(ref, credentials):
        yield None
        return
    if ":" in credentials.username or "\0" in credentials.username + credentials.password:
        raise errors.InvalidRequest(f"credentials of {ref.domain}: a user's name has no ':', and nothing here a NUL")
    pair = f"{credentials.username}:{credentials.password}".encode(errors="surrogatepass")
    auth = {"auths": {ref.domain: {"auth": base64.b64encode(pair).decode()}}}
    with os.fdopen(os.memfd_create("auth", os.MFD_CLOEXEC), "wb") as file:
        file.write(json.dumps(auth).encode())
        file.flush()
        yield file.fileno()
