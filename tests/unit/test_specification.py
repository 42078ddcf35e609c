"""The papers tell the truth about the tests."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_names_a_test_and_every_named_test_exists() -> None:
    text = (ROOT / "SPECIFICATION.md").read_text()
    promises = re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promise)
        assert named, promise
        for path, name in named:
            assert re.search(rf"(def|class) {name}\b", (ROOT / path).read_text()), f"{path}::{name}"


def test_promises_are_numbered_without_gaps() -> None:
    numbers = re.findall(r"^(\d+)\. ", (ROOT / "SPECIFICATION.md").read_text(), flags=re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1))


def test_no_document_links_to_a_file_that_is_not_there() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "guest/PROTOCOL.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
