"""Git in a layer: who commits are by, and repositories, cloned by the guest under its own network policy.

An address may hold a password. It is given to git in the guest, and appears in nothing that is told of the build.
"""

import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import replace

from hutch.control.building import packages
from hutch.control.building.site import Site
from hutch.control.inside import TAIL, CommandFailed, Ran, Tell
from hutch.model import errors
from hutch.model.recipes import GitIdentity, Repository

_ENV = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
    "HOME": "/root",
}
_USERINFO = re.compile(rb"://[^/\s'\"]*@")
_CUT = 256  # bytes by which a tail that was cut may be shorter, by white space that was taken off it
_SHORT = 6  # characters: what is shorter would be found everywhere


async def set_identity(site: Site, identity: GitIdentity) -> None:
    """For all users of the guest, in /etc/gitconfig."""
    await _ensure_git(site)
    for name, value in (
        ("user.name", identity.name),
        ("user.email", identity.email),
        ("user.signingkey", identity.signing_key),
    ):
        if value is not None:
            await site.do(f"git config {name}", "git", "config", "--system", name, value, env=_ENV)


async def clone_all(site: Site, repositories: Sequence[Repository]) -> None:
    """In this order. `CommandFailed` with git's words, but for passwords."""
    await _ensure_git(site)
    for repository in repositories:
        await _clone(site, repository)


async def _ensure_git(site: Site) -> None:
    if await site.find("git") is not None:
        return
    try:
        await packages.install(site, ["git", "ca-certificates"])
    except errors.Unsupported:
        raise errors.Unsupported("the guest has no git, and no apt-get to install it with") from None


async def _clone(site: Site, repository: Repository) -> None:
    redactor = Redactor(repository.url, site.tell)
    path = repository.path
    await _git(site, redactor, f"cloning into {path}", "clone", "--", repository.url, path)
    if repository.rev is None:
        return
    in_it = ("-C", path, "-c", "advice.detachedHead=false")
    found = await site.attempt("git", *in_it, "checkout", repository.rev, "--", env=_ENV, tell=redactor.tell)
    redactor.flush()
    if found.exit.code == 0:
        return
    # A commit that no branch has any more: some servers give it to who names it.
    fetched = await site.attempt("git", *in_it, "fetch", "origin", repository.rev, env=_ENV, tell=redactor.tell)
    redactor.flush()
    what = f"checking out {repository.rev} in {path}: git"
    if fetched.exit.code != 0:
        raise CommandFailed(what, redactor.clean(found))
    await _git(site, redactor, what, *in_it, "checkout", "FETCH_HEAD", "--")


async def _git(site: Site, redactor: "Redactor", what: str, *argv: str) -> None:
    ran = await site.attempt("git", *argv, env=_ENV, tell=redactor.tell)
    redactor.flush()
    if ran.exit.code != 0:
        raise CommandFailed(f"{what}: git", redactor.clean(ran))


class Redactor:
    """Takes what an address keeps to itself out of output that passes through, line by line."""

    def __init__(self, url: str, onward: Tell) -> None:
        secrets = _secrets(url)
        self._secrets = [secret.encode(errors="replace") for secret in sorted(secrets, key=len, reverse=True)]
        self._onward = onward
        self._line = bytearray()

    def tell(self, data: bytes) -> None:
        """Output, in any pieces."""
        self._line += data
        end = max(self._line.rfind(b"\n"), self._line.rfind(b"\r")) + 1
        if end == 0 and len(self._line) < 64 * 1024:
            return
        whole, self._line = bytes(self._line[: end or None]), self._line[end:] if end else bytearray()
        self._onward(self.redact(whole))

    def flush(self) -> None:
        """The command has ended."""
        rest, self._line = bytes(self._line), bytearray()
        if rest:
            self._onward(self.redact(rest))

    def redact(self, data: bytes) -> bytes:
        """Without any of it."""
        for secret in self._secrets:
            data = data.replace(secret, b"***")
        return _USERINFO.sub(b"://***@", data)

    def clean(self, ran: Ran) -> Ran:
        """The same of a command's output."""
        tail = ran.tail.encode(errors="replace")
        if len(tail) >= TAIL - _CUT:
            tail = tail.partition(b"\n")[2]  # its first line may begin in the middle of a password
        told = self.redact(tail).decode(errors="replace")
        return replace(ran, stdout=self.redact(ran.stdout), stderr=self.redact(ran.stderr), tail=told)


def _secrets(url: str) -> set[str]:
    authority = url.partition("://")[2].partition("/")[0] if "://" in url else ""
    userinfo, at, _ = authority.rpartition("@")
    if not at:
        return set()
    parts = {userinfo, *userinfo.split(":", 1)}
    parts |= {urllib.parse.unquote(part) for part in parts}
    return {part for part in parts if len(part) >= _SHORT}
