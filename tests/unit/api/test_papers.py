"""The papers name everything there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import typer

from hutch.api import page
from hutch.api.metrics import Metrics
from hutch.api.service import Service
from hutch.api.smol import dialect, recipes, requests
from hutch.cli import failure, main
from hutch.settings import Settings

DOCS = Path(__file__).parents[3] / "docs"
SMOL = (DOCS / "apis/smol.md").read_text()
CLI = (DOCS / "cli.md").read_text()

ROUTES = dialect.routes(Service(None, Settings(), Metrics()))  # type: ignore[arg-type]
PAPER = dialect.document(ROUTES)


def operations() -> Iterator[str]:
    for path, methods in PAPER["paths"].items():
        for method in methods:
            yield f"{method.upper()} {path}"


def test_every_operation_is_in_the_dialects_page_and_no_other() -> None:
    written = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", SMOL, re.MULTILINE))
    assert written == set(operations())


def test_every_field_of_a_new_machine_and_of_a_new_pool_is_in_the_dialects_page() -> None:
    for model in (requests.CreateMachine, requests.CreatePool):
        for field in model.model_json_schema()["properties"]:
            assert f"`{field}`" in SMOL, field


def test_every_field_of_a_recipe_is_in_the_guide_to_builds() -> None:
    guide = (DOCS / "builds.md").read_text()
    models = [recipes.CreateBuild.model_json_schema(), *recipes.CreateBuild.model_json_schema()["$defs"].values()]
    for model in models:
        for field in model.get("properties", {}):  # of ports the dialect's page tells
            assert model["title"] == "Port" or re.search(rf"\b{field}\b", guide), (model["title"], field)


def test_every_command_and_exit_code_is_in_the_clis_page() -> None:
    commands = typer.main.get_command(main.app).commands  # type: ignore[attr-defined]
    for name in commands:
        assert f"`hutch {name} " in CLI, name
    for code in failure.Code:
        assert f"| {int(code)} |" in CLI, code


def test_the_docs_page_shows_every_operation_and_schema() -> None:
    shown = page.render(PAPER)
    for path in PAPER["paths"]:
        assert f"<code>{path}</code>" in shown
    for name in PAPER["components"]["schemas"]:
        assert f'id="{name}"' in shown
