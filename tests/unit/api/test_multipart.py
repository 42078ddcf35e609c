"""Forms, read whole."""

import pytest

from hutch.api import multipart
from hutch.api.multipart import Part
from hutch.model import errors

TYPE = "multipart/form-data; boundary=x"


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\r\n", b"a\r\n--y\r\nb", bytes(range(256)), b"a--x", b"ends with a line\r\n"]
)
def test_what_a_part_holds_is_exact(data: bytes) -> None:
    body = form(part("a", data, '; filename="n"\r\nContent-Type: image/png'), part("b", b"other"))
    assert multipart.split(TYPE, body) == [Part("a", data), Part("b", b"other")]


@pytest.mark.parametrize("kind", ['multipart/form-data; boundary="x"', "Multipart/Form-Data;charset=utf-8;boundary=x"])
def test_a_boundary_is_found_however_it_is_written(kind: str) -> None:
    assert multipart.split(kind, form(part("a", b"1"))) == [Part("a", b"1")]


def test_a_name_may_hold_anything() -> None:
    assert multipart.split(TYPE, form(part(r"a\"b", b""), part("ü", b""))) == [Part('a"b', b""), Part("ü", b"")]


def test_what_is_before_and_behind_the_parts_is_dropped() -> None:
    assert multipart.split(TYPE, b"preamble\r\n" + form(part("a", b"1")) + b"epilogue") == [Part("a", b"1")]


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_another_type_is_refused(kind: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="boundary"):
        multipart.split(kind, form(part("a", b"1")))


@pytest.mark.parametrize("body", [b"", form(part("a", b"1"), end=b""), form(part("a", b"1"), end=b"--x\r\n")])
def test_a_body_that_is_cut_off_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidRequest, match="cut off"):
        multipart.split(TYPE, body)


@pytest.mark.parametrize(
    "flawed", [b"no head", b"Content-Type: x\r\n\r\n1", b"Content-Disposition: form-data\r\n\r\n1"]
)
def test_a_part_without_a_name_is_refused(flawed: bytes) -> None:
    with pytest.raises(errors.InvalidRequest, match="without a name"):
        multipart.split(TYPE, form(flawed))
