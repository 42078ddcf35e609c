"""Which service the CLI talks to, and with which key."""

import stat
from pathlib import Path

import pytest

from hutch.cli import config
from hutch.cli.config import Config
from hutch.cli.failure import Failure

DEFAULT = "http://127.0.0.1:7070"
WRITTEN = Config("http://127.0.0.1:8080", "smk_written")


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    config.write(tmp_path, WRITTEN)
    assert config.read(tmp_path) == WRITTEN
    assert config.find(tmp_path, DEFAULT, {}) == WRITTEN


def test_the_file_is_for_its_owner_only_also_when_it_replaces_a_wider_one(tmp_path: Path) -> None:
    config.path(tmp_path).write_text("{}")
    config.path(tmp_path).chmod(0o644)
    config.write(tmp_path, WRITTEN)
    assert stat.S_IMODE(config.path(tmp_path).stat().st_mode) == 0o600
    assert [it.name for it in tmp_path.iterdir()] == ["config.json"]


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    config.write(tmp_path, WRITTEN)
    environment = {"HUTCH_URL": "http://other", "HUTCH_KEY": "smk_other"}
    assert config.find(tmp_path, DEFAULT, environment) == Config("http://other", "smk_other")
    assert config.find(tmp_path, DEFAULT, {"HUTCH_KEY": "smk_other"}) == Config(WRITTEN.url, "smk_other")


def test_the_files_key_is_never_sent_to_another_service(tmp_path: Path) -> None:
    config.write(tmp_path, WRITTEN)
    assert config.find(tmp_path, DEFAULT, {"HUTCH_URL": "http://other"}).key == ""
    assert config.find(tmp_path, DEFAULT, {"HUTCH_URL": f"{WRITTEN.url}/"}).key == WRITTEN.key


def test_without_anything_the_default_is_tried_without_a_key(tmp_path: Path) -> None:
    assert config.find(tmp_path, DEFAULT, {}) == Config(DEFAULT, "")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"url": "x"}'])
def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path, text: str) -> None:
    config.path(tmp_path).write_text(text)
    with pytest.raises(Failure, match="is damaged") as caught:
        config.read(tmp_path)
    assert "hutch up" in caught.value.hint


def test_a_key_is_in_no_representation() -> None:
    assert "smk_written" not in f"{WRITTEN!r} {WRITTEN}"
