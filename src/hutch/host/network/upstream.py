"""The resolvers of this host, which the guests' resolver asks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode

from hutch.host.network.answers import UDP_PAYLOAD
from hutch.model import errors

Upstreams = Callable[[], Sequence[tuple[str, int]]]
"""Address and port of each resolver to ask, the first first."""

TRIES = 3
ONE_LIMIT = 2.0
"""Seconds one of them may take before the next is asked."""

_UNABLE = (dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP)


class ResolvConf:
    """The resolvers a resolv.conf names; read again when it has changed."""

    def __init__(self, path: Path = Path("/etc/resolv.conf")) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._servers: Sequence[tuple[str, int]] = ()

    def __call__(self) -> Sequence[tuple[str, int]]:
        try:
            about = self._path.stat()
            if (stamp := (about.st_ino, about.st_mtime_ns)) != self._stamp:
                lines = (line.split() for line in self._path.read_text(errors="replace").splitlines())
                self._servers = [(words[1], 53) for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
                self._stamp = stamp
        except OSError:
            return ()
        return self._servers


async def ask(upstreams: Upstreams, query: dns.message.Message) -> dns.message.QueryMessage:
    """The answer of the first resolver that is able to give one, else the last one's. `TimedOut` if none answers.

    Only name, type and flags of a guest's question leave this host: the message is our own, with an id of its own.
    """
    question = query.question[0]
    flags = dns.flags.RD | query.flags & (dns.flags.CD | dns.flags.AD)
    ours = dns.message.make_query(question.name, question.rdtype, use_edns=0, payload=UDP_PAYLOAD, flags=flags)
    ours.want_dnssec(bool(query.ednsflags & dns.flags.DO))
    said: dns.message.Message | None = None
    for host, port in list(upstreams())[:TRIES]:
        try:
            said, _ = await dns.asyncquery.udp_with_fallback(
                ours, host, ONE_LIMIT, port, ignore_unexpected=True, ignore_errors=True
            )
        except (dns.exception.DNSException, OSError, EOFError, ValueError):
            continue
        if said.rcode() not in _UNABLE:
            break
    if not isinstance(said, dns.message.QueryMessage):
        raise errors.TimedOut("no resolver of this host answers")
    return said
