"""Files, both ways."""

import os
import socket
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pytest

import live
from hutch.api.smol import files

from .conftest import Machine

MIB = 2**20


def url(machine: Machine, path: str) -> str:
    return f"{machine.path}/files{path}"


@pytest.mark.parametrize("data", [b"", b"text\n", bytes(range(256)) * 9, b"\r\n\r\n0\r\n\r\n"])
def test_bytes_come_back_exactly(machine: Machine, data: bytes) -> None:
    assert machine.http.put(url(machine, "/workspace/rt.bin"), content=data).status_code == 204
    read = machine.http.get(url(machine, "/workspace/rt.bin"))
    assert (read.status_code, read.content) == (200, data)
    assert read.headers["content-type"] == "application/octet-stream"


def test_one_and_two_slashes_are_the_same_file_without_a_redirect(machine: Machine) -> None:
    assert machine.http.put(url(machine, "//workspace/rt.txt"), content=b"x").status_code == 204
    assert machine.http.get(url(machine, "/workspace/rt.txt")).content == b"x"
    assert machine.http.get(url(machine, "//workspace/rt.txt")).content == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "ünïcödé",
        "a?b",
        "a#b",
        "100%",
        "%41",
        "a+b",
        "a&b=c;d",
        "new\nline",
        "'quotes\"",
        "-rf",
        "..dots",
        "emoji 🦫",
    ],
)
def test_odd_names_are_names(machine: Machine, name: str) -> None:
    path = f"//workspace/{quote(name, safe='')}"
    assert machine.http.put(url(machine, path), content=name.encode()).status_code == 204
    assert machine.http.get(url(machine, path)).content == name.encode()
    listed = machine.exec(["find", ".", "-name", "*", "-type", "f", "-print0"], cwd="/workspace")["stdout"]
    assert f"./{name}\0" in listed


def test_missing_directories_are_made_and_the_mode_can_be_given(machine: Machine) -> None:
    assert machine.http.put(url(machine, "/workspace/a/b/run.sh?mode=755"), content=b"#!/bin/sh\necho ran\n").is_success
    assert machine.exec("a/b/run.sh", cwd="/workspace")["stdout"] == "ran\n"
    machine.http.put(url(machine, "/workspace/a/b/run.sh"), content=b"#!/bin/sh\necho again\n")
    assert machine.exec("a/b/run.sh", cwd="/workspace")["stdout"] == "again\n"
    assert machine.http.get(url(machine, "/workspace/a/b/run.sh")).headers["x-hutch-file-mode"] == "0755"


def test_a_missing_file_is_told_with_its_path(machine: Machine) -> None:
    for slashes in ("/", "//"):
        answer = machine.http.get(url(machine, f"{slashes}workspace/none.txt"))
        assert (answer.status_code, answer.text) == (404, "file not found: workspace/none.txt")


def test_a_directory_is_no_file(machine: Machine) -> None:
    for answer in (
        machine.http.get(url(machine, "/workspace")),
        machine.http.put(url(machine, "/workspace"), content=b"x"),
    ):
        assert answer.status_code == 400
        assert "directory" in answer.text


def test_the_query_form_of_a_path_leads_nowhere(machine: Machine) -> None:
    assert machine.http.get(f"{machine.path}/files?path=/workspace/x").status_code == 404


@pytest.mark.parametrize(("path", "status"), [("/", 400), ("//", 400), ("/%FF", 400), ("/a%00b", 400)])
def test_a_path_that_is_none_is_refused(machine: Machine, path: str, status: int) -> None:
    assert machine.http.put(url(machine, path), content=b"x").status_code == status


def test_a_mode_is_octal(machine: Machine) -> None:
    assert machine.http.put(url(machine, "/x?mode=999"), content=b"x").status_code == 400


def test_fifty_mebibytes_pass_both_ways_quickly_and_in_flat_memory(service: live.Live, machine: Machine) -> None:
    def peak() -> int:
        with open(f"/proc/{service.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024

    machine.post("start")
    before, data = peak(), os.urandom(MIB) * 50
    assert machine.http.put(url(machine, "/workspace/big"), content=data).status_code == 204
    assert machine.http.get(url(machine, "/workspace/big")).content == data
    assert peak() - before < 30


def test_an_upload_of_unknown_length_is_taken_as_it_comes(machine: Machine) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    assert machine.http.put(url(machine, "/workspace/x"), content=pieces()).status_code == 204
    assert machine.http.get(url(machine, "/workspace/x")).content == b"one two"


def test_an_upload_that_stops_short_leaves_nothing(service: live.Live, machine: Machine) -> None:
    machine.http.put(url(machine, "/workspace/x"), content=b"old")
    target = urlsplit(service.url)
    head = f"PUT {url(machine, '/workspace/x')} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
    with socket.create_connection((target.hostname, target.port)) as sock:
        sock.sendall(f"{head}content-length: 1000\r\n\r\n".encode() + b"only this")
    assert machine.http.get(url(machine, "/workspace/x")).content == b"old"
    assert machine.exec("ls -A", cwd="/workspace")["stdout"] == "x\n"


def test_transfers_at_once_do_not_mix(machine: Machine) -> None:
    machine.post("start")
    failures: list[object] = []

    def transfer(n: int) -> None:
        data = bytes([n]) * MIB
        machine.http.put(url(machine, f"/workspace/{n}"), content=data)
        if machine.http.get(url(machine, f"/workspace/{n}")).content != data:
            failures.append(n)

    threads = [threading.Thread(target=transfer, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_refused_upload_leaves_the_connection_usable(service: live.Live, machine: Machine) -> None:
    missing = "/v1/machines/mach-aaaaaaaaaaaaaaaaaaaa/files/x"
    with httpx.Client(base_url=service.url, headers=machine.http.headers, trust_env=False) as client:
        assert client.put(missing, content=b"x" * 5 * MIB).status_code == 404
        assert client.get(machine.path).status_code == 200


def test_a_directory_is_listed_with_what_is_known_of_each(machine: Machine) -> None:
    machine.http.put(f"{machine.path}/files/tmp/listed/b.txt?mode=640", content=b"abc")
    machine.exec("mkdir -p tmp/listed/a; ln -s b.txt tmp/listed/c")
    found = machine.http.get(f"{machine.path}/files", params={"dir": "/tmp/listed"})
    assert found.status_code == 200, found.text
    shown = [files.FileInfo.model_validate(it) for it in found.json()]
    assert [(it.name, it.type) for it in shown] == [("a", "directory"), ("b.txt", "file"), ("c", "symlink")]
    assert (shown[1].size, shown[1].mode, shown[1].path) == (3, "0640", "/tmp/listed/b.txt")
    assert shown[2].target == "b.txt"
    assert "tmp" in [it["name"] for it in machine.http.get(f"{machine.path}/files").json()]


@pytest.mark.parametrize(("directory", "status"), [("/none", 404), ("relative", 400), ("/etc/passwd", 400)])
def test_what_is_no_directory_is_not_listed(machine: Machine, directory: str, status: int) -> None:
    machine.http.put(f"{machine.path}/files/etc/passwd", content=b"x")
    answer = machine.http.get(f"{machine.path}/files", params={"dir": directory})
    assert (answer.status_code, bool(answer.text)) == (status, True)


def test_several_files_are_written_at_once(machine: Machine) -> None:
    wanted = [
        {"path": "/tmp/many/a.txt", "content": "é"},
        {"path": "/tmp/many/b.bin", "contentB64": "AP8=", "mode": "755"},
    ]
    answer = machine.post("files", wanted)
    assert answer.json() == [{"path": "/tmp/many/a.txt", "size": 2}, {"path": "/tmp/many/b.bin", "size": 2}]
    assert machine.http.get(f"{machine.path}/files/tmp/many/a.txt").text == "é"
    back = machine.http.get(f"{machine.path}/files/tmp/many/b.bin")
    assert (back.content, back.headers["x-hutch-file-mode"]) == (b"\0\xff", "0755")
    assert machine.post("files", []).json() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ([{"content": "x"}], 422),
        ([{"path": "/tmp/x"}], 400),
        ([{"path": "/tmp/x", "content": "x", "contentB64": "eA=="}], 400),
        ([{"path": "/tmp/x", "contentB64": "!"}], 400),
        ([{"path": "relative", "content": "x"}], 400),
        ([{"path": "/tmp/x", "content": "x", "mode": "rwx"}], 422),
    ],
)
def test_files_that_make_no_sense_are_refused(machine: Machine, body: object, status: int) -> None:
    answer = machine.post("files", body)
    assert (answer.status_code, bool(answer.text)) == (status, True)
