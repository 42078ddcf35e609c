"""Volumes, and machines that mount them."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from hutch.api.smol.volumes import VolumeInfo

from .conftest import create


def fresh() -> str:
    return f"data-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def volume(http: httpx.Client) -> Iterator[VolumeInfo]:
    answer = http.post("/v1/volumes", json={"name": fresh(), "sizeGb": 1})
    assert answer.status_code == 200, answer.text
    made = VolumeInfo.model_validate_json(answer.content)
    yield made
    http.delete(f"/v1/volumes/{made.id}")


def test_a_volume_is_told_and_listed(http: httpx.Client, volume: VolumeInfo) -> None:
    assert volume.id.startswith("vol-")
    assert (volume.size_gb, volume.status, volume.machine_ids) == (1, "available", [])
    shown = http.get(f"/v1/volumes/{volume.id}").json()
    assert shown in http.get("/v1/volumes").json()
    for ref in (volume.id.removeprefix("vol-"), volume.name):
        assert http.get(f"/v1/volumes/{ref}").json() == shown


def test_a_machine_mounts_a_volume_and_holds_it(http: httpx.Client, volume: VolumeInfo) -> None:
    mount = {"volume": volume.name, "mountPath": "/data"}
    made = create(http, mounts=[mount])
    assert made.status_code == 201, made.text
    machine = made.json()
    assert machine["mounts"] == [{"volume": volume.id, "mountPath": "/data", "readonly": False}]
    shown = http.get(f"/v1/volumes/{volume.id}").json()
    assert (shown["status"], shown["machineIds"]) == ("attached", [machine["id"]])
    refused = http.delete(f"/v1/volumes/{volume.id}")
    assert (refused.status_code, volume.name in refused.text) == (409, True)
    assert http.delete(f"/v1/machines/{machine['id']}").status_code == 204
    assert http.delete(f"/v1/volumes/{volume.id}").status_code == 204
    assert http.get(f"/v1/volumes/{volume.id}").status_code == 404


def test_a_name_is_taken_once(http: httpx.Client, volume: VolumeInfo) -> None:
    answer = http.post("/v1/volumes", json={"name": volume.name, "sizeGb": 1})
    assert (answer.status_code, volume.name in answer.text) == (409, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x"}, 422),
        ({"sizeGb": 1}, 422),
        ({"name": "x", "sizeGb": "1"}, 422),
        ({"name": "x", "sizeGb": 0}, 400),
        ({"name": "sp ace", "sizeGb": 1}, 400),
        ({"name": "x", "sizeGb": 1, "node": "elsewhere"}, 400),
        ({"name": "x", "sizeGb": 10**6}, 400),
    ],
)
def test_a_volume_that_makes_no_sense_is_refused(http: httpx.Client, body: object, status: int) -> None:
    answer = http.post("/v1/volumes", json=body)
    assert (answer.status_code, bool(answer.text)) == (status, True)


def test_an_unknown_volume_is_404_and_cannot_be_mounted(http: httpx.Client) -> None:
    for method in ("GET", "DELETE"):
        assert http.request(method, "/v1/volumes/vol-aaaaaaaaaaaaaaaaaaaa").status_code == 404
    answer = create(http, mounts=[{"volume": "no-such-volume", "mountPath": "/data"}])
    assert answer.status_code == 400
    assert answer.text.startswith("mounts: ")
