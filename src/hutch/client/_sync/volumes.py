"""Volumes: disks that outlive machines. `NewMachine.mounts` attaches them."""

from hutch.client import nouns, wire
from hutch.client._sync.http import LONG, Http


def _path(volume: str) -> str:
    return f"/v1/volumes/{wire.segment(volume)}"


class Volumes:
    """Every `volume` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, name: str, size_gb: int) -> nouns.Volume:
        """Make one, empty."""
        body = {"name": name, "sizeGb": size_gb}
        return nouns.volume(self._http.json("POST", "/v1/volumes", json=body, timeout=LONG))

    def get(self, volume: str) -> nouns.Volume:
        """One."""
        return nouns.volume(self._http.json("GET", _path(volume)))

    def delete(self, volume: str) -> None:
        """Remove it with all it holds. `Conflict` while a machine mounts it."""
        self._http.json("DELETE", _path(volume), timeout=LONG)

    def list(self) -> list[nouns.Volume]:
        """All, oldest first."""
        return [nouns.volume(it) for it in self._http.json("GET", "/v1/volumes")]
