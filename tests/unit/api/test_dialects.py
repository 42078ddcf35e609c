"""Which dialect a request speaks."""

import pytest

from hutch.api import dialects
from hutch.api.dialects import Dialect


def nothing(_: object) -> None:
    raise AssertionError("not built here")


SMOL = Dialect("smol", nothing)  # type: ignore[arg-type]
NULLSPACE = Dialect("nullspace", nothing, key_prefix="ns_")  # type: ignore[arg-type]
FREESTYLE = Dialect("freestyle", nothing, paths=("/v1/vms",))  # type: ignore[arg-type]
HYPERFLEET = Dialect("hyperfleet", nothing, ("/machines",), "hf_", ("/health",))  # type: ignore[arg-type]
ALL = (SMOL, NULLSPACE, FREESTYLE, HYPERFLEET)


@pytest.mark.parametrize(
    ("path", "token", "name", "inside"),
    [
        ("/smol/v1/machines", "ns_x", "smol", "/v1/machines"),
        ("/smol", None, "smol", "/"),
        ("/smolder", None, "smol", "/smolder"),
        ("/v1/machines", "smk_x", "smol", "/v1/machines"),
        ("/v1/machines", "ns_live_x", "nullspace", "/v1/machines"),
        ("/v1/machines", None, "smol", "/v1/machines"),
        ("/v1/vms/1", "ns_x", "freestyle", "/v1/vms/1"),
        ("/v1/vmsx", "smk_x", "smol", "/v1/vmsx"),
        ("/nullspace/v1/machines", "smk_x", "nullspace", "/v1/machines"),
        ("/health", None, "smol", "/health"),
        ("/health", "hf_x", "hyperfleet", "/health"),
        ("/health", "ns_x", "nullspace", "/health"),
        ("/v1/machines", "hf_x", "smol", "/v1/machines"),
        ("/machines/x", "smk_x", "hyperfleet", "/machines/x"),
        ("/machinesx", "smk_x", "smol", "/machinesx"),
        ("/smol//v1/machines", None, "smol", "//v1/machines"),
    ],
)
def test_mounts_come_first_then_paths_then_keys(path: str, token: str | None, name: str, inside: str) -> None:
    dialect, rest = dialects.spoken(path, token, ALL)
    assert (dialect.name, rest) == (name, inside)


def test_no_two_dialects_claim_the_same() -> None:
    claims = [claim for it in dialects.DIALECTS for claim in (it.name, it.key_prefix, *it.paths) if claim]
    assert len(claims) == len(set(claims))
