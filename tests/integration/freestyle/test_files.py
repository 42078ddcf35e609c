"""Files of VMs."""

import base64
from urllib.parse import quote

import httpx
import pytest

from hutch.api.freestyle import files, guest_responses, responses

from .conftest import Vm, refused, told
from .test_exec import run


def at(vm: Vm, path: str) -> str:
    return f"{vm.path}/files/{quote(path, safe='')}"


def put(vm: Vm, path: str, content: str, **fields: object) -> httpx.Response:
    return vm.http.put(at(vm, path), json={"content": content, **fields})


@pytest.mark.parametrize("encoding", [None, "utf8", "utf-8"])
def test_text_is_written_and_read(vm: Vm, encoding: str | None) -> None:
    assert told(put(vm, "/tmp/deep/é ä.txt", "grüße\n", encoding=encoding), responses.Empty) == {}
    content = told(vm.http.get(at(vm, "/tmp/deep/é ä.txt")), guest_responses.FileContent)
    assert content == {"content": "grüße\n", "encoding": "utf8"}


def test_bytes_are_written_and_read_in_base64(vm: Vm) -> None:
    text = base64.b64encode(bytes(range(256))).decode()
    put(vm, "/tmp/bytes", text, encoding="base64")
    assert vm.http.get(at(vm, "/tmp/bytes")).json() == {"content": text, "encoding": "base64"}


def test_a_path_may_stand_as_it_is(vm: Vm) -> None:
    put(vm, "/tmp/plain", "x")
    assert vm.http.get(f"{vm.path}/files/tmp/plain").json()["content"] == "x"
    assert vm.http.get(f"/freestyle{vm.path}/files/%2Ftmp%2Fplain").json()["content"] == "x"


def test_a_directory_tells_what_it_holds(vm: Vm) -> None:
    run(vm, "mkdir -p d/sub; echo x > d/file; ln -s sub d/link; ln -s d whole")
    expected = [("file", "file"), ("link", "file"), ("sub", "directory")]
    for path in ("/d", "/d/", "/whole"):
        listed = told(vm.http.get(at(vm, path)), guest_responses.Directory)["files"]
        assert [(it["name"], it["kind"]) for it in listed] == expected
    assert {"name": "d", "kind": "directory"} in vm.http.get(at(vm, "/")).json()["files"]


def test_what_is_not_there_is_told(vm: Vm) -> None:
    assert "/tmp/none" in refused(vm.http.get(at(vm, "/tmp/none")), "FILE_NOT_FOUND")
    refused(vm.http.get("/v1/vms/nope/files/%2Ftmp"), "VM_NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": 1},
        {"content": "?", "encoding": "base64"},
        {"content": "x", "encoding": "latin1"},
    ],
)
def test_a_body_that_makes_no_sense_is_refused(vm: Vm, body: dict[str, object]) -> None:
    refused(vm.http.put(at(vm, "/tmp/x"), json=body), "FILES_BAD_REQUEST")


def test_a_path_that_makes_no_sense_is_refused(vm: Vm) -> None:
    refused(vm.http.get(f"{vm.path}/files/"), "FILES_BAD_REQUEST")
    refused(vm.http.get(f"{vm.path}/files/%ff"), "FILES_BAD_REQUEST")
    refused(vm.http.get(f"{vm.path}/files/%00"), "FILES_BAD_REQUEST")
    run(vm, "mkdir dir; mkfifo pipe")
    refused(put(vm, "/dir", "x"), "FILES_BAD_REQUEST")
    refused(vm.http.get(at(vm, "/pipe")), "FILES_BAD_REQUEST")


def test_a_file_that_is_too_large_is_refused(vm: Vm) -> None:
    run(vm, f"truncate -s {files.LIMIT + 1} large")
    refused(vm.http.get(at(vm, "/large")), "FILES_BAD_REQUEST")
    answer = vm.http.put(at(vm, "/larger"), content=b'{"content":"' + b"x" * (files.LIMIT * 4 // 3 + 4096) + b'"}')
    refused(answer, "FILES_BAD_REQUEST", 413)


@pytest.mark.parametrize("path", ["%66iles/tmp/x", "%66iles/%2Ftmp%2Fx"])
def test_only_the_files_part_of_a_path_is_encoded(vm: Vm, path: str) -> None:
    refused(vm.http.get(f"{vm.path}/{path}"), "FILES_BAD_REQUEST")
