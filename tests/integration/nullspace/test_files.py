"""Files; over plain HTTP."""

import base64
import json
from typing import Any

import httpx
import pytest

from hutch.api.nullspace import responses

from .conftest import Machine, refused


def write(machine: Machine, path: str, content: str = "hi\n", **fields: Any) -> dict[str, Any]:
    answer = machine.post("files/write", {"path": path, "content": content, **fields})
    assert answer.status_code == 200, answer.text
    responses.File.model_validate_json(answer.content)
    written: dict[str, Any] = answer.json()
    return written


def ask(machine: Machine, what: str, **fields: Any) -> Any:
    answer = machine.post(f"files/{what}", fields)
    assert answer.status_code in (200, 204), answer.text
    return answer.json() if answer.content else None


def test_a_file_is_written_told_of_and_read(machine: Machine) -> None:
    it = write(machine, "/workspace/new/a.txt")
    assert (it["name"], it["path"], it["size"], it["type"], it["is_dir"]) == (
        "a.txt",
        "/workspace/new/a.txt",
        3,
        "file",
        False,
    )
    assert (it["mode"], it["permissions"]) == ("0644", "rw-r--r--")
    assert ask(machine, "read", path="/workspace/new/a.txt") == {"content": "hi\n", "encoding": "utf8", "size": 3}
    assert ask(machine, "info", path="/workspace/new/a.txt") == it
    assert ask(machine, "exists", path="/workspace/new/a.txt") == {"exists": True}
    assert ask(machine, "exists", path="/workspace/new/b.txt") == {"exists": False}


def test_base64_is_exact_and_utf8_must_be_utf8(machine: Machine) -> None:
    data = bytes(range(256))
    encoded = base64.b64encode(data).decode()
    write(machine, "/workspace/b", encoded, encoding="base64")
    assert ask(machine, "read", path="/workspace/b", encoding="base64")["content"] == encoded
    refused(machine.post("files/read", {"path": "/workspace/b"}), 400, "file_error")
    for flawed in ("!", "é", "YQ"):
        body = {"path": "/x", "content": flawed, "encoding": "base64"}
        refused(machine.post("files/write", body), 400, "invalid_request")


def test_directories_are_made_listed_and_removed_whole(machine: Machine) -> None:
    assert ask(machine, "mkdir", path="/workspace/d/e") is None
    write(machine, "/workspace/d/f")
    write(machine, "/workspace/d/e/g")
    listed = machine.http.get(f"{machine.path}/files", params={"path": "/workspace/d"}).json()
    assert [(it["name"], it["type"], it["is_dir"]) for it in listed] == [("e", "dir", True), ("f", "file", False)]
    deep = machine.http.get(f"{machine.path}/files", params={"path": "/workspace/d", "depth": 2}).json()
    assert [it["path"] for it in deep] == ["/workspace/d/e", "/workspace/d/e/g", "/workspace/d/f"]
    assert "workspace" in [it["name"] for it in machine.http.get(f"{machine.path}/files").json()]
    assert ask(machine, "remove", path="/workspace/d") is None
    refused(machine.http.get(f"{machine.path}/files", params={"path": "/workspace/d"}), 404, "not_found")
    for depth in ("0", "33", "x"):
        refused(machine.http.get(f"{machine.path}/files", params={"depth": depth}), 400, "invalid_request")


def test_files_are_renamed_and_their_permissions_set(machine: Machine) -> None:
    write(machine, "/workspace/old")
    assert ask(machine, "rename", old_path="/workspace/old", new_path="/workspace/new")["path"] == "/workspace/new"
    for text, mode in (("755", "0755"), ("0600", "0600"), ("0o640", "0640")):
        assert ask(machine, "permissions", path="/workspace/new", permissions=text) is None
        assert ask(machine, "info", path="/workspace/new")["mode"] == mode
    refused(machine.post("files/rename", {"old_path": "/workspace/old", "new_path": "/x"}), 404, "not_found")
    for flawed in ("rwx", "o755", "99", "77777"):
        body = {"path": "/workspace/new", "permissions": flawed}
        refused(machine.post("files/permissions", body), 400, "invalid_request")


def test_lines_and_names_are_found(machine: Machine) -> None:
    write(machine, "/workspace/s/a.py", "import os\n# needle 1\n")
    write(machine, "/workspace/s/sub/b.txt", "needle 2\n")
    found = ask(machine, "find", path="/workspace/s", pattern="needle")
    assert [(it["file"], it["line"], it["content"]) for it in found] == [
        ("/workspace/s/a.py", 2, "# needle 1"),
        ("/workspace/s/sub/b.txt", 1, "needle 2"),
    ]
    assert ask(machine, "search", path="/workspace/s", pattern="*.txt") == ["/workspace/s/sub/b.txt"]
    assert ask(machine, "find", path="/workspace/s", pattern="nothing like it") == []


def test_text_is_replaced_in_text_files(machine: Machine) -> None:
    write(machine, "/workspace/r/a", "one two one\n")
    write(machine, "/workspace/r/b", "three\n")
    write(machine, "/workspace/r/c", base64.b64encode(b"one\0").decode(), encoding="base64")
    ask(machine, "permissions", path="/workspace/r/a", permissions="750")
    wanted = {"files": ["/workspace/r/a", "/workspace/r/b", "/workspace/r/c", "/workspace/r"]}
    told = {"replacements": 2, "files_modified": 1, "files_skipped": 1, "binary_files_skipped": 1}
    assert ask(machine, "replace", pattern="one", replacement="1", dry_run=True, **wanted) == told
    assert ask(machine, "read", path="/workspace/r/a")["content"] == "one two one\n"
    assert ask(machine, "replace", pattern="one", replacement="1", **wanted) == told
    assert ask(machine, "read", path="/workspace/r/a")["content"] == "1 two 1\n"
    assert ask(machine, "info", path="/workspace/r/a")["mode"] == "0750"
    refused(machine.post("files/replace", {"files": [], "pattern": "", "replacement": ""}), 400, "invalid_request")


@pytest.mark.parametrize("data", [b"", b"text\n", bytes(range(256)) * 5000])
def test_raw_bytes_come_back_exactly(machine: Machine, data: bytes) -> None:
    where = {"path": "/workspace/raw/ü q?#"}
    answer = machine.http.put(f"{machine.path}/file", params=where, content=data)
    assert (answer.status_code, answer.content) == (204, b"")
    answer = machine.http.get(f"{machine.path}/file", params=where)
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_form_is_a_file(machine: Machine) -> None:
    data = b"a\r\n--x\r\n\xff"
    for name in ("file", "anything"):
        answer = machine.http.post(
            f"{machine.path}/file", params={"path": f"/workspace/{name}"}, files={name: ("a.bin", data)}
        )
        assert (answer.status_code, answer.content) == (204, b""), answer.text
        assert machine.http.get(f"{machine.path}/file", params={"path": f"/workspace/{name}"}).content == data
    two = {"a": ("a", b"1"), "b": ("b", b"2")}
    refused(machine.http.post(f"{machine.path}/file", params={"path": "/x"}, files=two), 400, "invalid_request")
    refused(machine.http.post(f"{machine.path}/file", params={"path": "/x"}, content=b"x"), 400, "invalid_request")


def batch(machine: Machine, manifest: object, **parts: bytes) -> httpx.Response:
    files = {"manifest": ("m.json", json.dumps(manifest).encode()), **{name: (name, it) for name, it in parts.items()}}
    return machine.http.post(f"{machine.path}/files/batch-write", files=files)


def test_several_files_succeed_or_fail_alone(machine: Machine) -> None:
    manifest = {"files": [{"path": "/workspace/b1", "field": "f0"}, {"path": "/workspace", "field": "f1"}]}
    answer = batch(machine, manifest, f0=b"one", f1=b"two")
    assert answer.status_code == 200, answer.text
    responses.BatchWritten.model_validate_json(answer.content)
    first, second = answer.json()["results"]
    assert (first["status"], first["path"], first["info"]["size"]) == ("success", "/workspace/b1", 3)
    assert (second["status"], second["path"], "error" in second) == ("error", "/workspace", True)


@pytest.mark.parametrize("manifest", [[], {}, {"files": [{}]}, {"files": [{"path": "/x", "field": "other"}]}])
def test_a_manifest_that_makes_no_sense_is_refused(machine: Machine, manifest: object) -> None:
    refused(batch(machine, manifest, f0=b"x"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("what", "body", "status", "code"),
    [
        ("read", {"path": "/none"}, 404, "not_found"),
        ("read", {"path": "/workspace"}, 400, "file_error"),
        ("read", {"path": "relative"}, 400, "invalid_request"),
        ("read", {"path": "/a", "encoding": "latin1"}, 400, "invalid_request"),
        ("read", {}, 400, "invalid_request"),
        ("info", {"path": "/none"}, 404, "not_found"),
        ("remove", {"path": "/none"}, 404, "not_found"),
        ("write", {"path": "/workspace", "content": ""}, 400, "file_error"),
        ("read", {"path": "/a", "user": "nobody"}, 501, "not_implemented"),
        ("write", {"path": "/a", "content": "", "user": "nobody"}, 501, "not_implemented"),
        ("download-url", {"path": "/a"}, 501, "not_implemented"),
    ],
)
def test_what_cannot_be_is_refused(machine: Machine, what: str, body: dict[str, Any], status: int, code: str) -> None:
    refused(machine.post(f"files/{what}", body), status, code)


def test_root_is_who_reaches_files(machine: Machine) -> None:
    write(machine, "/workspace/root", user="root")
    assert machine.http.get(f"{machine.path}/file", params={"path": "/workspace/root", "user": "root"}).text == "hi\n"
    refused(machine.http.get(f"{machine.path}/file", params={"path": "/a", "user": "x"}), 501, "not_implemented")


def test_files_wake_their_machine(machine: Machine) -> None:
    write(machine, "/workspace/a")
    machine.post("hibernate")
    assert ask(machine, "read", path="/workspace/a")["content"] == "hi\n"
    assert machine.look()["status"] == "running"
