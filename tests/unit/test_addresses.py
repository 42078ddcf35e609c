"""Which addresses a tenant may have messages sent to."""

import socket

import pytest

from hutch.notify.addresses import why_refused


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("fd00:ec2::254", "metadata"),
    ],
)
def test_what_leads_to_this_host_or_its_link_is_refused(address: str, words: str) -> None:
    refused = why_refused(address)
    assert refused is not None
    assert words in refused


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "10.255.1.2"])
def test_anything_else_may_be_reached(address: str) -> None:
    assert why_refused(address) is None


def test_the_hosts_own_address_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no way out, and so no address but loopback")
        own = probe.getsockname()[0]
    assert why_refused(own) == "an address of this host"
