"""Request ids."""

import re

import pytest

from hutch.api import observe


@pytest.mark.parametrize("sent", [b"abc-123", b"a.b_c:d", b"x" * 128])
def test_a_safe_id_of_the_clients_is_kept(sent: bytes) -> None:
    assert observe.request_id({"headers": [(b"x-request-id", sent)]}) == sent


@pytest.mark.parametrize("sent", [b"", b"a b", b"a\xff", b"x" * 129, b"<script>", b'"', b"a\tb"])
def test_an_unsafe_one_is_replaced(sent: bytes) -> None:
    made = observe.request_id({"headers": [(b"x-request-id", sent)]})
    assert re.fullmatch(rb"[0-9a-f]{16}", made)


def test_without_one_every_request_gets_its_own() -> None:
    assert observe.request_id({"headers": []}) != observe.request_id({"headers": []})
