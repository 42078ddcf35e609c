"""What the control plane's own books cost: making and listing machines that do not run.

Ten thousand are recorded through HTTP by a live service on its SQLite database, and are all gone at the end. The last
page is as fast as the first if pages are found by where they begin, not by counting.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import service

MACHINES = 10_000
CONNECTIONS = 8
PAGES = 30
METADATA = '{"team":"blue"}'

Figures = dict[str, list[float]]


def measure(hutch: service.Service) -> Figures:
    """`create_rps`, `list_first_page_ms`, `list_last_page_ms` (100 of 10,000, with a metadata filter)."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        made = list(pool.map(lambda number: _create(hutch, number), range(MACHINES)))
        rate = MACHINES / (time.perf_counter() - began)
        try:
            tokens = _tokens(hutch)
            first = [_page_ms(hutch, None) for _ in range(PAGES)]
            last = [_page_ms(hutch, tokens[-1]) for _ in range(PAGES)]
        finally:
            list(pool.map(hutch.delete, made))
    return {"create_rps": [rate], "list_first_page_ms": first, "list_last_page_ms": last}


def _create(hutch: service.Service, number: int) -> str:
    """Every second one matches the filter."""
    team = "blue" if number % 2 else "red"
    source = {"type": "image", "reference": service.IMAGE}
    body = {"source": source, "resources": service.SHAPE, "metadata": {"team": team, "number": number}}
    return service.id_of(hutch.post("/v1/machines", **body))


def _get(hutch: service.Service, token: str | None) -> dict[str, Any]:
    query = {"limit": "100", "metadata": METADATA} | ({"next_token": token} if token else {})
    response = hutch.http.get("/nullspace/v1/machines", params=query)
    response.raise_for_status()
    page: dict[str, Any] = response.json()
    return page


def _page_ms(hutch: service.Service, token: str | None) -> float:
    began = time.perf_counter()
    items = _get(hutch, token)["items"]
    took = 1000 * (time.perf_counter() - began)
    assert len(items) == 100, len(items)
    return took


def _tokens(hutch: service.Service) -> list[str]:
    """Where each page but the first begins; all machines that match are on them."""
    tokens, seen, page = [], 0, _get(hutch, None)
    while True:
        seen += len(page["items"])
        if not page["has_next"]:
            break
        tokens.append(page["next_token"])
        page = _get(hutch, page["next_token"])
    assert seen == MACHINES // 2, seen
    return tokens
