"""The codec, fed by hand."""

import json
import random

import pytest

from hutch.host.agent import frames


def feed(decoder: frames.Decoder, data: bytes, step: int = 4096) -> list[frames.Frame]:
    found: list[frames.Frame] = []
    view = memoryview(data)
    while len(view) > 0:
        space = decoder.space()
        assert len(space) > 0
        count = min(step, len(space), len(view))
        space[:count] = view[:count]
        view = view[count:]
        decoder.filled(count)
        while (frame := decoder.next()) is not None:
            found.append(frame)
    return found


def synced() -> frames.Decoder:
    decoder = frames.Decoder()
    assert feed(decoder, frames.SYNC) == []
    return decoder


def raw(length: int, header: int, rest: bytes = b"") -> bytes:
    return length.to_bytes(4, "little") + header.to_bytes(4, "little") + rest


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_frames_come_out_whole_however_the_bytes_arrive(step: int) -> None:
    sizes = [0, 1, 100, 32 << 10, (32 << 10) + 1, 200_000] + ([frames.BODY_LIMIT] if step > 7 else [])
    data = b"".join(frames.encode({"id": size + 1}, bytes([size % 251]) * size) for size in sizes)
    found = feed(synced(), data, step)
    assert [(frame.header["id"] - 1, len(frame.body)) for frame in found] == [(size, size) for size in sizes]
    assert all(set(frame.body) <= {len(frame.body) % 251} for frame in found)


def test_what_comes_before_the_sync_is_discarded() -> None:
    noise = b"\0\0HUTCH-SYN" + bytes(100_000) + frames.SYNC[:15]
    for step in (1, 16, 4096):
        data = noise + frames.SYNC + frames.encode({"id": 1})
        assert [frame.header for frame in feed(frames.Decoder(), data, step)] == [{"id": 1}]


def test_endless_noise_is_given_up() -> None:
    with pytest.raises(frames.Malformed, match="no agent"):
        feed(frames.Decoder(), bytes(frames.NOISE_LIMIT + 100_000), 65536)


def test_after_a_resync_only_what_follows_the_next_sync_counts() -> None:
    decoder = synced()
    assert len(feed(decoder, frames.encode({"id": 1}))) == 1
    decoder.resync()
    data = frames.encode({"id": 2}) + frames.SYNC + frames.encode({"id": 3})
    assert [frame.header["id"] for frame in feed(decoder, data)] == [3]


@pytest.mark.parametrize(
    "data",
    [
        raw(0, 0),
        raw(3, 0),
        raw(frames.FRAME_LIMIT + 1, 2, b"{}"),
        raw(2**32 - 1, 2, b"{}"),
        raw(6, 3, b"{}"),
        raw(4 + 70_000, 70_000, b"{" + b" " * 69_998 + b"}"),
        raw(frames.FRAME_LIMIT, 2, b"{}" + bytes(frames.FRAME_LIMIT - 6)),
        raw(6, 2, b"[]"),
        raw(6, 2, b"{]"),
        raw(6, 2, b"\xff\xff"),
        raw(4 + 60_000, 60_000, b"[" * 60_000),
        raw(4 + 60_000, 60_000, b'{"a":' * 12_000),
        raw(4 + 60_000, 60_000, b'{"id":' + b"1" * 59_993 + b"}"),
        frames.SYNC,
    ],
)
def test_what_is_no_frame_is_malformed(data: bytes) -> None:
    with pytest.raises(frames.Malformed):
        feed(synced(), data)


def test_no_memory_is_taken_for_a_length_that_is_not_allowed() -> None:
    decoder = synced()
    feed(decoder, (frames.FRAME_LIMIT).to_bytes(4, "little"))
    assert len(decoder.space()) <= frames.FRAME_LIMIT + 4


def test_any_bytes_give_frames_or_malformed() -> None:
    chance = random.Random(7)
    for _ in range(500):
        data = bytearray(
            frames.encode({"id": 1, "ok": {"a": [1, 2, {}]}}, chance.randbytes(chance.randrange(5000))) * 3
        )
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            feed(synced(), bytes(data), chance.randrange(1, 9000))
        except frames.Malformed:
            continue


def test_a_request_that_does_not_fit_is_not_encoded() -> None:
    frames.encode({"a": "x" * 1_000_000})
    large = bytes(frames.BODY_LIMIT)
    for header, body in (({"a": "x" * (1 << 20)}, b""), ({}, large + b"x"), ({"a": "x" * 70_000}, large)):
        with pytest.raises(frames.TooLong):
            frames.encode(header, body)
    with pytest.raises(ValueError, match="surrogates"):
        frames.encode({"a": "\udcff"})


def test_text_is_carried_as_it_is() -> None:
    data = frames.encode({"id": 1, "path": "/ü/文件/\n\"'"})
    assert json.loads(data[8:]) == {"id": 1, "path": "/ü/文件/\n\"'"}
