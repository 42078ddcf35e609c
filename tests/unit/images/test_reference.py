"""References, as Docker reads them."""

import pytest

from hutch.host.images import reference
from hutch.model import errors

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("asked", "canonical"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("debian:12", "docker.io/library/debian:12"),
        ("library/alpine", "docker.io/library/alpine:latest"),
        ("user/app", "docker.io/user/app:latest"),
        ("user/deep/app:v1", "docker.io/user/deep/app:v1"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/user/app", "docker.io/user/app:latest"),
        ("ghcr.io/org/app:1.0_x-y.z", "ghcr.io/org/app:1.0_x-y.z"),
        ("registry.example/a/b@" + DIGEST, "registry.example/a/b@" + DIGEST),
        ("registry.example:443/b:t@" + DIGEST, "registry.example:443/b@" + DIGEST),
        ("alpine@" + DIGEST, "docker.io/library/alpine@" + DIGEST),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:tag", "localhost:5000/x:tag"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("HOST/x", "HOST/x:latest"),
        ("a/b__c/d-e--f/g.h", "docker.io/a/b__c/d-e--f/g.h:latest"),
        ("x:" + "t" * 128, "docker.io/library/x:" + "t" * 128),
    ],
)
def test_a_reference_is_completed_as_docker_does(asked: str, canonical: str) -> None:
    assert reference.parse(asked).canonical == canonical
    assert reference.parse(canonical).canonical == canonical


@pytest.mark.parametrize(
    ("canonical", "familiar"),
    [
        ("docker.io/library/alpine:latest", "alpine:latest"),
        ("docker.io/user/app:1", "user/app:1"),
        ("ghcr.io/library/app:1", "ghcr.io/library/app:1"),
        ("docker.io/library/alpine@" + DIGEST, "alpine@" + DIGEST),
    ],
)
def test_the_familiar_form_means_the_same(canonical: str, familiar: str) -> None:
    assert reference.parse(canonical).familiar == familiar
    assert reference.parse(familiar).canonical == canonical


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("", "expected"),
        ("Alpine", "lower case"),
        ("a b", "expected"),
        ("-oops", "expected"),
        ("a//b", "expected"),
        ("a/", "expected"),
        ("/a", "expected"),
        ("a..b", "expected"),
        ("a___b", "expected"),
        ("../etc", "not a registry"),
        ("alpine:", "not a tag"),
        ("alpine:-x", "not a tag"),
        ("alpine:" + "t" * 129, "not a tag"),
        ("alpine:a:b", "not a registry|not a tag"),
        ("alpine@sha256:abc", "64 lower-case hex"),
        ("alpine@md5:" + "a" * 32, "64 lower-case hex"),
        ("alpine@", "64 lower-case hex"),
        ("host:port/x", "not a registry"),
        ("docker://alpine", "not a registry|expected"),
        ("x" * 300, "expected"),
        ("alpine\n", "expected"),
        ("alpine:1\n", "not a tag"),
        ("$(reboot)", "expected"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(asked: str, why: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=f"invalid image reference .*({why})"):
        reference.parse(asked)
