"""smol's statuses and texts."""

import json
from typing import Any

import pydantic
import pytest

from hutch.api.smol import errors as smol
from hutch.api.smol import requests
from hutch.model import errors

IMAGE = {"type": "image", "reference": "debian"}


def misfit(model: type[pydantic.BaseModel], body: Any) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        model.model_validate_json(json.dumps(body))
    return smol.misfit(caught.value.errors(include_url=False)[0])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "missing field `source`"),
        ({"source": {"type": "image"}}, "source: missing field `reference`"),
        ({"source": IMAGE, "name": 5}, "name: invalid type: integer `5`, expected a string"),
        (
            {"source": IMAGE, "resources": {"cpus": "two"}},
            'resources.cpus: invalid type: string "two", expected u32',
        ),
        (
            {"source": IMAGE, "resources": {"cpus": 1.5}},
            "resources.cpus: invalid type: floating point `1.5`, expected u32",
        ),
        ({"source": IMAGE, "resources": {"cpus": -1}}, "resources.cpus: invalid value: integer `-1`, expected u32"),
        ({"source": IMAGE, "ephemeral": "yes"}, 'ephemeral: invalid type: string "yes", expected a boolean'),
        ({"source": IMAGE, "env": ["A=b"]}, "env: invalid type: sequence, expected a map"),
        ({"source": IMAGE, "env": {"A": None}}, "env.A: invalid type: null, expected a string"),
        ({"source": IMAGE, "command": "x"}, 'command: invalid type: string "x", expected a sequence'),
        (
            {"source": {"type": "disk", "reference": "x"}},
            "source.type: unknown variant `disk`, expected `image`, `smolmachine` or `checkpoint`",
        ),
        ([], "invalid type: sequence, expected struct"),
        ({"source": IMAGE, "ephemeral": 1}, "ephemeral: invalid type: integer `1`, expected a boolean"),
        ({"source": IMAGE, "name": True}, "name: invalid type: boolean `true`, expected a string"),
    ],
)
def test_a_misfit_is_told_in_the_documented_services_words(body: Any, words: str) -> None:
    assert misfit(requests.CreateMachine, body) == words


def test_an_unknown_state_is_told_with_those_there_are() -> None:
    words = misfit(requests.Wait, {"state": ["sleeping"]})
    assert words.startswith("state.0: unknown variant `sleeping`, expected `creating`, `stopped`")


@pytest.mark.parametrize("command", [None, 5, {}, [1], ["a", None]])
def test_a_command_is_a_string_or_a_list_of_strings(command: Any) -> None:
    expected = "command: data did not match any variant of untagged enum CommandSpec"
    assert misfit(requests.Exec, {"command": command}) == expected


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequest("x"), 400),
        (errors.Forbidden("x"), 403),
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.IllegalTransition("x"), 409),
        (errors.NotRunning("x"), 409),
        (errors.NoCapacity("x"), 422),
        (errors.DiskFull("x"), 422),
        (errors.ImageUnavailable("x"), 422),
        (errors.GuestError("x"), 400),
        (errors.GuestNotFound("x"), 404),
        (errors.GuestDiskFull("x"), 422),
        (errors.MachineFailed("x"), 500),
        (errors.Incompatible("x"), 409),
        (errors.Damaged("x"), 500),
        (errors.TimedOut("x"), 504),
        (errors.AgentUnavailable("x"), 503),
        (errors.Unsupported("x"), 501),
        (errors.HutchError("x"), 500),
    ],
)
def test_every_error_has_a_status_and_its_own_text(error: errors.HutchError, status: int) -> None:
    answer = smol.response(error)
    assert (answer.status_code, answer.body, answer.media_type) == (status, b"x", "text/plain")


def test_every_error_there_is_has_a_status() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.HutchError):
            assert 400 <= smol.status(kind("x")) <= 504


def test_no_key_is_an_empty_401_and_a_wrong_one_is_json() -> None:
    assert (
        smol.unauthorized(errors.Unauthenticated()).status_code,
        smol.unauthorized(errors.Unauthenticated()).body,
    ) == (
        401,
        b"",
    )
    wrong = smol.unauthorized(errors.UnknownKey())
    assert wrong.status_code == 401
    assert json.loads(bytes(wrong.body)) == {"code": "unknown_key", "error": "unknown API key"}
    assert wrong.headers["content-type"] == "application/json"


def test_a_missing_file_is_told_with_its_path_without_the_leading_slash() -> None:
    with (
        pytest.raises(errors.GuestNotFound, match=r"^file not found: workspace/rt\.txt$"),
        smol.about_file("/workspace/rt.txt"),
    ):
        raise errors.GuestNotFound("no such file")


def test_what_is_internal_to_an_error_is_not_shown() -> None:
    assert b"secret" not in smol.response(errors.HutchError("it failed", path="secret")).body
