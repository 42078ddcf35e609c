"""The pages of the hyperfleet and starpod dialects name everything there is; every state and error has its word."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hutch.api import hyperfleet, openapi, page, starpod
from hutch.api.hyperfleet import dialect as hyperfleet_dialect
from hutch.api.hyperfleet import errors as hyperfleet_errors
from hutch.api.hyperfleet import requests as hyperfleet_requests
from hutch.api.hyperfleet import responses as hyperfleet_responses
from hutch.api.hyperfleet import states
from hutch.api.metrics import Metrics
from hutch.api.service import Service
from hutch.api.starpod import dialect as starpod_dialect
from hutch.api.starpod import errors as starpod_errors
from hutch.api.starpod import present
from hutch.api.starpod import requests as starpod_requests
from hutch.api.starpod import responses as starpod_responses
from hutch.api.telling import Teller
from hutch.model import errors as model_errors
from hutch.model.states import State
from hutch.settings import Settings

DOCS = Path(__file__).parents[3] / "docs/apis"
ITS = Service(None, Settings(), Metrics())  # type: ignore[arg-type]
HYPERFLEET = openapi.document(
    hyperfleet_dialect.routes(ITS), hyperfleet_requests.ALL, frozenset(hyperfleet_dialect.PUBLIC)
)
STARPOD = openapi.document(starpod_dialect.routes(ITS), starpod_requests.ALL, starpod_dialect.PUBLIC)


def text_of(room: Any) -> str:
    return (DOCS / f"{room.__name__.rsplit('.', 1)[1]}.md").read_text()


@pytest.mark.parametrize(("room", "paper"), [(hyperfleet, HYPERFLEET), (starpod, STARPOD)])
def test_every_operation_is_in_the_page_and_no_other(room: Any, paper: Mapping[str, Any]) -> None:
    written = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", text_of(room), re.MULTILINE))
    assert written == {f"{method.upper()} {path}" for path, its in paper["paths"].items() for method in its}
    shown = page.render(paper)
    assert all(f"<code>{path}</code>" in shown for path in paper["paths"])


@pytest.mark.parametrize(
    ("room", "models"),
    [
        (hyperfleet, (*hyperfleet_requests.ALL, hyperfleet_responses.Machine, hyperfleet_requests.Listing)),
        (starpod, (*starpod_requests.ALL, starpod_responses.Instance, starpod_responses.InstanceHealth)),
        (starpod, (starpod_responses.LogLine,)),
    ],
)
def test_every_field_is_in_the_page(room: Any, models: tuple[Any, ...]) -> None:
    for model in models:
        for field in model.model_json_schema()["properties"]:
            assert re.search(rf"`[^`]*\b{field}\b", text_of(room)), field


def test_every_code_and_status_is_in_the_page() -> None:
    for status, code in hyperfleet_errors.KINDS.values():
        row = next(line for line in text_of(hyperfleet).splitlines() if re.match(rf"\| .*\b{status}\b.*`{code}`", line))
        assert row
    for status in starpod_errors.STATUSES.values():
        assert re.search(rf"^\| [\d, ]*\b{status}\b", text_of(starpod), re.MULTILINE), status


@pytest.mark.parametrize("teller", [hyperfleet_errors.TELLER, starpod_errors.TELLER])
def test_every_error_is_told(teller: Teller) -> None:
    for kind in vars(model_errors).values():
        if isinstance(kind, type) and issubclass(kind, model_errors.HutchError):
            told = teller.told(kind())
            assert 400 <= told.status < 600
            assert str(told)
            assert teller.response(kind()).status_code == told.status


def test_every_state_has_its_word_and_every_word_is_in_the_page() -> None:
    assert set(states.STATES) == set(present.STATES) == set(State)
    for status in states.STATUSES:
        assert f"| `{status}` |" in text_of(hyperfleet)
    for status in set(present.STATES.values()):
        assert f"| `{status}` |" in text_of(starpod)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"x-api-key", b" a ")], "a"),
        ([(b"authorization", b"Bearer b")], "b"),
        ([(b"authorization", b"Bearer b"), (b"x-api-key", b"a")], "a"),
        ([(b"authorization", b"Bearer b"), (b"x-api-key", b"")], "b"),
        ([(b"authorization", b"Basic b")], None),
        ([], None),
    ],
)
def test_starpods_key_comes_in_either_header(headers: list[tuple[bytes, bytes]], key: str | None) -> None:
    assert starpod_dialect.key(headers) == key
