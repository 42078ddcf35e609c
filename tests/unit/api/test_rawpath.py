"""Paths of guest files inside URLs."""

import re

import pytest

from hutch.api import rawpath
from hutch.model import errors

BEFORE = re.compile(rb"/machines/[^/]+/files/")


@pytest.mark.parametrize(
    ("rest", "path"),
    [
        (b"workspace/x", "/workspace/x"),
        (b"/workspace/x", "/workspace/x"),
        (b"a%20b%3F%23%25", "/a b?#%"),
        (b"new%0Aline", "/new\nline"),
        (b"%C3%A9", "/é"),
        (b"a//b/../c", "/a//b/../c"),
        (b"files/x", "/files/x"),
        (b"%2Fetc%2Fhosts", "/etc/hosts"),
        (b"%252F", "/%2F"),
        (b"dir/", "/dir/"),
    ],
)
def test_a_path_is_what_the_client_meant(rest: bytes, path: str) -> None:
    assert rawpath.guest_path(b"/smol/v1/machines/files/files/" + rest, BEFORE) == path


@pytest.mark.parametrize("rest", [b"", b"/", b"%FF"])
def test_a_path_that_is_none_is_refused(rest: bytes) -> None:
    with pytest.raises(errors.InvalidRequest):
        rawpath.guest_path(b"/v1/machines/m/files/" + rest, BEFORE)
