"""Image references as Docker writes them, and what they are short for.

The rules are those of github.com/distribution/reference, which every registry client follows: no registry means
docker.io, no namespace there means library, no tag and no digest means latest.
"""

import re
from dataclasses import dataclass

from hutch.model import errors

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME_LIMIT = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry: by tag or by digest, never both."""

    domain: str
    path: str
    tag: str | None
    digest: str | None

    @property
    def repository(self) -> str:
        """Registry and path."""
        return f"{self.domain}/{self.path}"

    @property
    def canonical(self) -> str:
        """In full: two references mean the same if and only if these are equal."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    @property
    def familiar(self) -> str:
        """As a person would write it: without what Docker adds, but with the tag."""
        return self.canonical.removeprefix("docker.io/").removeprefix("library/")

    def at(self, digest: str) -> "Reference":
        """The same repository, pinned to a digest."""
        return Reference(self.domain, self.path, None, digest)


def is_digest(text: str) -> bool:
    """Whether this is an image's digest, `sha256:` and 64 hex digits."""
    return _DIGEST.fullmatch(text) is not None


def parse(text: str) -> Reference:
    """Read a reference. Raises `InvalidRequest`, which says what is wrong with it."""
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, "a digest is sha256: and 64 lower-case hex digits")
    first, slash, rest = name.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    domain, remainder = (first, rest) if is_domain else ("docker.io", name)
    path, colon, tag = remainder.partition(":")
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    if not _DOMAIN.fullmatch(domain):
        raise _invalid(text, f"{domain!r} is not a registry's HOST[:PORT]")
    if path != path.lower():
        raise _invalid(text, "a repository's name is lower case")
    if not _PATH.fullmatch(path) or len(domain) + len(path) + 1 > _NAME_LIMIT:
        raise _invalid(text, "expected [REGISTRY/]NAME[:TAG] or [REGISTRY/]NAME@sha256:DIGEST")
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text, f"{tag!r} is not a tag")
    return Reference(domain, path, None, digest) if at else Reference(domain, path, tag or "latest", None)


def _invalid(text: str, why: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"invalid image reference {text[:300]!r}: {why}")
