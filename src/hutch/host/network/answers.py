"""What the resolver says to a question, decided without asking anybody (pure).

Where only named hosts are allowed, a question is answered by the name that is asked: aliases lead wherever its owner
has them lead, and the addresses at their end are what the machine may reach. An alias or an address that leads into a
network no policy opens is worth nothing: such addresses are taken out. IPv6 is off in machines, so there are no
IPv6 addresses, and no records that carry addresses as hints (HTTPS, SVCB).
"""

import functools
import itertools
from dataclasses import dataclass
from ipaddress import IPv4Address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from hutch.host.network.policy import Bounds, networks
from hutch.model.machine import NetworkMode, NetworkPolicy

UDP_PAYLOAD = 1232
"""Most of an answer over UDP (DNS Flag Day 2020): what gets through everywhere in one piece."""

LEAST_SECONDS = 30
MOST_SECONDS = 3600
GRACE_SECONDS = 30  # an address is admitted a little longer than its answer may be kept
MOST_ADDRESSES = 64  # of one answer; the rest is not looked at

_WITHOUT = (dns.rdatatype.AAAA, dns.rdatatype.HTTPS, dns.rdatatype.SVCB)


@dataclass(frozen=True)
class Verdict:
    """What to do with a question: forward it, where `entry` is the entry of the policy that allows it; or a code."""

    forward: bool
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    entry: str | None = None


def bare(wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """A header alone, as an answer to what could not be read."""
    return wire[:2] + bytes([0x80 | wire[2] & 0x79, rcode, 0, 0, 0, 0, 0, 0, 0, 0])


def judge(policy: NetworkPolicy, query: dns.message.Message) -> Verdict:
    """Whether a question is answered. It has one entry in its question section."""
    question = query.question[0]
    if policy.mode is NetworkMode.BLOCKED or question.rdclass != dns.rdataclass.IN:
        return Verdict(False, dns.rcode.REFUSED)
    if dns.rdatatype.is_metatype(question.rdtype):
        return Verdict(False, dns.rcode.NOTIMP)  # transfers, and ANY (RFC 8482)
    if policy.mode is NetworkMode.OPEN:
        return Verdict(True)
    entry = _entry(policy.hosts, question.name)
    if entry is None:
        return Verdict(False, dns.rcode.REFUSED)
    return Verdict(question.rdtype not in _WITHOUT, entry=entry)


def _entry(hosts: tuple[str, ...], name: dns.name.Name) -> str | None:
    """The entry that allows a name: its own, else the nearest one with an asterisk."""
    exact, below = _index(hosts)
    entry = exact.get(name)
    while entry is None and len(name.labels) > 1:
        name = name.parent()
        entry = below.get(name)
    return entry


@functools.lru_cache(256)
def _index(hosts: tuple[str, ...]) -> tuple[dict[dns.name.Name, str], dict[dns.name.Name, str]]:
    """Entries by their names, and those with an asterisk by the name they are below."""
    exact = {dns.name.from_text(host): host for host in hosts if not host.startswith("*.")}
    return exact, {dns.name.from_text(host[2:]): host for host in hosts if host.startswith("*.")}


def answer(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    """An answer without records."""
    response = dns.message.make_response(query, recursion_available=True, our_payload=UDP_PAYLOAD)
    response.set_rcode(rcode)
    return response


def passed_on(query: dns.message.Message, said: dns.message.Message) -> dns.message.Message:
    """What another resolver said, as it is."""
    response = answer(query, said.rcode())
    response.flags |= said.flags & dns.flags.AD
    response.answer, response.authority, response.additional = said.answer, said.authority, said.additional
    return response


def filtered(
    query: dns.message.Message, said: dns.message.QueryMessage, policy: NetworkPolicy, bounds: Bounds
) -> tuple[dns.message.Message, dict[IPv4Address, int]]:
    """What another resolver said, of an allowed name, less what may not be reached; and the addresses to be admitted
    before it is sent, with their seconds. `DNSException` if it makes no sense.
    """
    chain = said.resolve_chaining()
    response = answer(query, said.rcode())
    response.answer = list(chain.cnames)
    response.authority = [rrset for rrset in said.authority if rrset.rdtype == dns.rdatatype.SOA]
    if chain.answer is None:
        return response, {}
    if query.question[0].rdtype != dns.rdatatype.A:
        response.answer.append(chain.answer)
        return response, {}
    refused = (*bounds.refused, *networks(policy.denied))
    found = {IPv4Address(rdata.address): rdata for rdata in itertools.islice(chain.answer, MOST_ADDRESSES)}
    kept = {it: rdata for it, rdata in found.items() if not any(it in network for network in refused)}
    if not kept:
        return response, {}
    ttl = min(chain.answer.ttl, MOST_SECONDS - GRACE_SECONDS)
    response.answer.append(dns.rrset.from_rdata_list(chain.answer.name, ttl, list(kept.values())))
    return response, dict.fromkeys(kept, min(max(ttl, LEAST_SECONDS) + GRACE_SECONDS, MOST_SECONDS))
