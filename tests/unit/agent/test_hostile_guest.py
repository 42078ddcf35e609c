"""A guest's agent that is not ours: whatever it says or does not say, a conversation ends in order and stays small."""

import asyncio
import dataclasses
from typing import Any

import pytest

from hutch.host.agent import answers, frames
from hutch.host.agent.client import Agent, Hello
from hutch.host.agent.conversation import OPEN_LIMIT, Conversation
from hutch.model import errors, guest

HELLO = Hello(version=1, agent="0", boot_id="", init="agent", pid=1)


class Line(asyncio.Transport):
    """Our side of a socket whose other side is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


class Guest:
    """A conversation with a guest that says what the test likes."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.line = Line()
        self.conversation.connection_made(self.line)
        self.agent = Agent(self.conversation, HELLO)

    def asked(self) -> list[dict[str, Any]]:
        decoder = frames.Decoder()
        sent = b"".join(self.line.sent)
        self._give(decoder, sent if sent.startswith(frames.SYNC) else frames.SYNC + sent)
        return list(iter(lambda: getattr(decoder.next(), "header", None), None))

    def say(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view) > 0 and not self.line.is_aborted:
            space = self.conversation.get_buffer(-1)
            count = min(len(space), len(view))
            space[:count] = view[:count]
            view = view[count:]
            self.conversation.buffer_updated(count)

    def answer(self, ok: Any, body: bytes = b"", which: int = -1) -> None:
        self.say(frames.encode({"id": self.asked()[which]["id"], "ok": ok}, body))

    async def greet(self) -> None:
        asking = await start(self.conversation.greet(1, 5))
        self.say(frames.SYNC)
        self.answer({})
        await asking
        self.line.sent.clear()

    @staticmethod
    def _give(decoder: frames.Decoder, data: bytes) -> None:
        decoder.space()[: len(data)] = data
        decoder.filled(len(data))


@pytest.fixture
async def hostile() -> Guest:
    guest_ = Guest()
    await guest_.greet()
    return guest_


async def start(asking: Any) -> "asyncio.Task[Any]":
    """Have it ask, and stop where it waits for the answer."""
    task = asyncio.ensure_future(asking)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


GARBAGE = {
    "garbage": b"\xff" * 100,
    "a giant length": (2**32 - 1).to_bytes(4, "little"),
    "no JSON": b"\x08\0\0\0\x04\0\0\0nope",
    "deep JSON": (60_004).to_bytes(4, "little") + (60_000).to_bytes(4, "little") + b"[" * 60_000,
    "no id": frames.encode({"ok": {}}),
    "an id nobody asked with": frames.encode({"id": 5, "ok": {}}),
    "an id that is a text": frames.encode({"id": "1", "ok": {}}),
    "an id that is a list": frames.encode({"id": [1], "ok": {}}),
    "an id that is true": frames.encode({"id": True, "ok": {}}),
    "a refusal": frames.encode({"id": 0, "error": {"code": "protocol", "message": "no"}}),
    "a refusal that makes no sense": frames.encode({"id": 0, "error": 7}),
    "another sync": frames.SYNC,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_ends_the_conversation_and_all_that_waits(hostile: Guest, data: bytes) -> None:
    waiting = [await start(hostile.agent.stats()) for _ in range(3)]
    hostile.say(data)
    for task in waiting:
        with pytest.raises(errors.AgentUnavailable):
            await task
    assert hostile.line.is_aborted
    with pytest.raises(errors.AgentUnavailable):
        await hostile.agent.sync()


@pytest.mark.parametrize("answer", [{}, {"ok": 1}, {"ok": None}, {"error": "x"}, {"ok": []}])
async def test_an_answer_that_is_none_ends_the_conversation(hostile: Guest, answer: dict[str, Any]) -> None:
    asking = await start(hostile.agent.stats())
    hostile.say(frames.encode({"id": hostile.asked()[0]["id"], **answer}))
    with pytest.raises(errors.AgentUnavailable):
        await asking


async def test_an_answer_given_twice_ends_the_conversation(hostile: Guest) -> None:
    asking = await start(hostile.agent.sync())
    hostile.answer({})
    await asking
    hostile.answer({})
    assert hostile.line.is_aborted


NONSENSE: list[Any] = [{}, *({"bytes": value} for value in ("many", -1, 1.5, True, 1 << 63, None))]


@pytest.mark.parametrize("ok", NONSENSE)
async def test_values_of_the_wrong_kind_are_nonsense(hostile: Guest, ok: Any) -> None:
    asking = await start(hostile.agent.grow())
    hostile.answer(ok)
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await asking


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 1e300, "1", None, []])
async def test_numbers_that_are_none_are_nonsense(hostile: Guest, number: Any) -> None:
    asking = await start(hostile.agent.stats())
    answered = guest.GuestStats(*[1] * 8)
    hostile.answer(dataclasses.asdict(answered) | {"uptime": number})
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await asking


@pytest.mark.parametrize(
    "ok",
    [
        {"stdout_at": 0, "stdout_len": 5, "stderr_at": 0, "stderr_len": 0, "exit": None},
        {"stdout_at": 0, "stdout_len": -4, "stderr_at": 0, "stderr_len": 8, "exit": None},
        {"stdout_at": 0, "stdout_len": 4, "stderr_at": -1, "stderr_len": 0, "exit": None},
        {"stdout_at": 0, "stdout_len": 4, "stderr_at": 0, "stderr_len": 0, "exit": 7},
        {"stdout_at": 0, "stdout_len": 4, "stderr_at": 0, "stderr_len": 0, "exit": {"code": "0"}},
    ],
)
async def test_output_that_does_not_add_up_is_nonsense(hostile: Guest, ok: Any) -> None:
    asking = await start(hostile.agent.processes.read("p", 0, 0, 1))
    hostile.answer(ok, b"1234")
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await asking


async def test_a_guest_that_never_answers_is_given_up(hostile: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hutch.host.agent.conversation.PROBE_TIMEOUT", 0.01)
    with pytest.raises(errors.AgentUnavailable, match="in time"):
        await hostile.agent.stats(timeout=0.01)
    async with asyncio.timeout(30):
        while not hostile.line.is_aborted:
            await asyncio.sleep(0.005)


async def test_one_answer_that_is_late_ends_nothing(hostile: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hutch.host.agent.conversation.PROBE_TIMEOUT", 0.02)
    with pytest.raises(errors.AgentUnavailable, match="in time"):
        await hostile.agent.sync(timeout=0.01)
    assert [asked["op"] for asked in hostile.asked()] == ["sync", "hello"]
    hostile.answer({"version": 1})
    await asyncio.sleep(0.05)
    hostile.answer({}, which=0)
    assert not hostile.line.is_aborted


async def test_requests_without_answer_are_bounded(hostile: Guest) -> None:
    for _ in range(OPEN_LIMIT * 2):
        hostile.agent.processes.forget_soon("p")
    assert len(hostile.line.sent) == OPEN_LIMIT
    with pytest.raises(errors.AgentUnavailable, match="Too many"):
        await hostile.agent.stats(timeout=0.01)


async def test_a_request_waits_for_a_place(hostile: Guest) -> None:
    waiting = [await start(hostile.agent.stats()) for _ in range(OPEN_LIMIT - 16)]
    one_more = await start(hostile.agent.sync())
    before = len(hostile.line.sent)
    hostile.answer({}, which=0)
    await start(asyncio.sleep(0))
    assert len(hostile.line.sent) == before + 1
    for task in (*waiting, one_more):
        task.cancel()
    await asyncio.gather(*waiting, one_more, return_exceptions=True)


@pytest.mark.parametrize("ok", [{"eof": False}, {"eof": "no"}, {}])
async def test_a_file_that_brings_nothing_for_ever_is_given_up(hostile: Guest, ok: Any) -> None:
    reading = await start(hostile.agent.files.read("/x"))
    stat = {"path": "/x", "kind": "file", "size": 1, "mode": 0, "uid": 0, "gid": 0, "mtime_ms": 0, "target": None}
    hostile.answer({"stat": stat}, which=0)
    _, content = await reading
    chunk = await start(anext(content))
    hostile.answer(ok, which=1)
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await chunk


async def test_a_file_without_end_is_pulled_and_never_pushed(hostile: Guest) -> None:
    reading = await start(hostile.agent.files.read("/x"))
    stat = {"path": "/x", "kind": "file", "size": 1, "mode": 0, "uid": 0, "gid": 0, "mtime_ms": 0, "target": None}
    hostile.answer({"stat": stat}, which=0)
    _, content = await reading
    chunk = await start(anext(content))
    hostile.answer({"eof": False}, b"x" * 1000, which=1)
    assert await chunk == b"x" * 1000
    assert [asked["op"] for asked in hostile.asked()].count("file.read") == 5
    del content
    await asyncio.sleep(0)


@pytest.mark.parametrize("entries", [[], [{"kind": "file"}], "x", [7]])
async def test_a_list_without_end_is_given_up(hostile: Guest, entries: Any) -> None:
    listing = await start(hostile.agent.files.list("/x"))
    hostile.answer({"entries": entries, "more": True, "last": ""})
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await listing


async def test_a_list_of_processes_that_goes_in_circles_is_given_up(hostile: Guest) -> None:
    entry = {"n": 1, "p": "p", "pid": 1, "argv": [], "started_ms": 0, "stdout": 0, "stderr": 0, "exit": None}
    for procs in ([], [entry | {"n": 0}], [entry, entry]):
        listing = await start(hostile.agent.processes.list())
        hostile.answer({"procs": procs, "more": True})
        with pytest.raises(errors.AgentUnavailable, match="nonsense"):
            await listing


async def test_a_list_of_processes_with_endless_arguments_is_given_up(hostile: Guest) -> None:
    entry = {"p": "p", "pid": 1, "argv": ["x" * 60_000], "started_ms": 0, "stdout": 0, "stderr": 0, "exit": None}
    listing = await start(hostile.agent.processes.list())
    pages = 0
    while not listing.done():
        assert pages < 500, "it goes on and on"
        pages += 1
        hostile.answer({"procs": [entry | {"n": pages}], "more": True})
        hostile.line.sent.clear()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await listing


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\uDFFF."', b'"\xed\xa0\x80"'])
async def test_half_a_character_is_no_text(hostile: Guest, text: bytes) -> None:
    asking = await start(hostile.agent.files.stat("/x"))
    header = b'{"id": %d, "error": {"code": "io", "message": %s}}' % (hostile.asked()[0]["id"], text)
    hostile.say((4 + len(header)).to_bytes(4, "little") + len(header).to_bytes(4, "little") + header)
    with pytest.raises(errors.AgentUnavailable):
        await asking
    with pytest.raises(errors.AgentUnavailable):
        answers.listed(b'[{"path": %s}]' % text, 1)


def test_a_whole_character_may_be_told_in_two_halves() -> None:
    assert answers.listed(b'[{"path": "\\ud83d\\ude00"}]', 1)[0].text("path") == "\U0001f600"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not_found", errors.GuestNotFound),
        ("no_space", errors.GuestDiskFull),
        ("exists", errors.Conflict),
        ("ended", errors.Conflict),
        ("io", errors.GuestError),
        ("never heard of", errors.GuestError),
        (7, errors.GuestError),
        (None, errors.GuestError),
    ],
)
async def test_a_refusal_becomes_an_error_of_ours(hostile: Guest, code: Any, kind: type[Exception]) -> None:
    asking = await start(hostile.agent.stats())
    hostile.say(frames.encode({"id": hostile.asked()[0]["id"], "error": {"code": code, "message": "x" * 50_000}}))
    with pytest.raises(kind) as caught:
        await asking
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 10_000


async def test_a_missing_program_keeps_its_words(hostile: Guest) -> None:
    words = "executable file 'x' not found in $PATH: No such file or directory"
    asking = await start(hostile.agent.processes.start("p", guest.ProcessSpec(("x",))))
    hostile.say(frames.encode({"id": hostile.asked()[0]["id"], "error": {"code": "exec_failed", "message": words}}))
    with pytest.raises(errors.GuestNotFound) as caught:
        await asking
    assert caught.value.message == words


async def test_the_answer_to_a_former_hosts_hello_is_not_ours() -> None:
    guest_ = Guest()
    asking = await start(guest_.conversation.greet(1, 5))
    number = guest_.asked()[0]["id"]
    guest_.say(frames.encode({"id": number, "ok": {}}))
    guest_.say(frames.SYNC + frames.encode({"id": number ^ 1, "ok": {"version": 9}}) + b"more noise")
    assert not asking.done()
    guest_.say(frames.SYNC + frames.encode({"id": number, "ok": {"version": 1}}))
    assert (await asking).header["ok"] == {"version": 1}


async def test_endless_noise_instead_of_a_greeting_is_given_up() -> None:
    guest_ = Guest()
    asking = await start(guest_.conversation.greet(1, 5))
    for _ in range(200):
        guest_.say(bytes(60_000))
    with pytest.raises(errors.AgentUnavailable, match="no agent"):
        await asking


async def test_endless_greetings_of_others_are_given_up() -> None:
    guest_ = Guest()
    asking = await start(guest_.conversation.greet(1, 5))
    for _ in range(200):
        guest_.say(frames.SYNC + frames.encode({"id": 3, "ok": {}}, bytes(60_000)))
    with pytest.raises(errors.AgentUnavailable):
        await asking


async def test_every_request_ends_with_the_seal_of_the_hello() -> None:
    guest_ = Guest()
    asking = await start(guest_.conversation.greet(1, 5))
    seal = guest_.asked()[0]["seal"].to_bytes(4, "little")
    guest_.say(frames.SYNC)
    guest_.answer({})
    await asking
    guest_.line.sent.clear()
    asking = await start(guest_.agent.processes.write("p", b"input"))
    assert guest_.line.sent[0].endswith(b"}input" + seal)
    guest_.answer({})
    await asking


async def test_text_that_is_no_unicode_is_refused_before_it_is_sent(hostile: Guest) -> None:
    with pytest.raises(errors.InvalidRequest, match="Unicode"):
        await hostile.agent.files.stat("/\udcff")
    assert hostile.line.sent == []
