"""The page of the nullspace dialect names everything there is; what is shown fits its form."""

import re
from collections.abc import Iterator
from pathlib import Path

from hutch.api import openapi, page
from hutch.api.metrics import Metrics
from hutch.api.nullspace import dialect, errors, lifecycle, present, refs, requests, undone
from hutch.api.service import Service
from hutch.model import errors as model_errors
from hutch.model import ids
from hutch.model.states import State
from hutch.settings import Settings

TEXT = (Path(__file__).parents[3] / "docs/apis/nullspace.md").read_text()
ROUTES = dialect.routes(Service(None, Settings(), Metrics()))  # type: ignore[arg-type]
PAPER = openapi.document(ROUTES, requests.ALL, dialect.PUBLIC)


def operations() -> Iterator[str]:
    for path, methods in PAPER["paths"].items():
        for method in methods:
            yield f"{method.upper()} {path}"


def test_every_operation_is_in_the_page_and_no_other() -> None:
    written = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", TEXT, re.MULTILINE))
    below = {path for paths in undone.BELOW.values() for path in paths}
    assert written == {it for it in operations() if it.split(" ")[1] not in below}
    for path in below:
        assert f"all below `{path}`" in TEXT


def test_every_field_is_in_the_page() -> None:
    for model in (requests.CreateMachine, requests.Exec, requests.CreatePool, requests.VolumeMount, requests.WarmPool):
        for field in model.model_json_schema()["properties"]:
            assert re.search(rf"`{field}\b", TEXT), field


def test_every_code_and_status_is_in_the_page() -> None:
    for status, code in errors.KINDS.values():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| {status} ") or f", {status} `" in line)
        assert f"`{code}`" in TEXT, (row, code)


def test_every_operation_of_the_lifecycle_and_every_status_is_in_the_page() -> None:
    for operation, status in lifecycle.OPERATIONS.values():
        assert f"`{operation}`" in TEXT
        assert status in TEXT
    for status in present.STATUSES:
        assert f"| `{status}` |" in TEXT


def test_the_docs_page_shows_every_operation() -> None:
    shown = page.render(PAPER)
    for path in PAPER["paths"]:
        assert f"<code>{path}</code>" in shown


def test_every_state_and_every_error_has_its_word() -> None:
    assert set(present.STATES) == set(State)
    assert set(present.STATES.values()) == set(present.STATUSES)
    for kind in vars(model_errors).values():
        if isinstance(kind, type) and issubclass(kind, model_errors.HutchError):
            assert errors.kind(kind()) in errors.KINDS.values()


def test_an_id_is_a_uuid_and_back() -> None:
    for id in [*(ids.random_id() for _ in range(20)), "0" * 20, "z" * 20, "0" * 19 + "1"]:
        assert refs.of_uuid(refs.as_uuid(id)) == id
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", refs.as_uuid(id))
