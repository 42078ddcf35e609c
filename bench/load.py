"""A small HTTP load generator: N keep-alive connections, one request at a time each, for so many seconds.

Runs in a process of its own, so that it shares no event loop with what it measures. Prints requests per second.
usage: python -m bench.load HOST PORT PATH KEY CONNECTIONS SECONDS      (loopback only)
"""

import asyncio
import sys
import time


async def connection(host: str, port: int, request: bytes, end: float) -> int:
    """How many answers came before `end`."""
    reader, writer = await asyncio.open_connection(host, port)
    count = 0
    while time.perf_counter() < end:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.split(b"\r\n")[0].decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        count += 1
    writer.close()
    return count


async def main() -> None:
    """All connections at once."""
    host, port, path, key, connections, seconds = sys.argv[1:]
    if host != "127.0.0.1":
        raise SystemExit("loopback only")
    request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\r\n".encode()
    end = time.perf_counter() + float(seconds)
    work = (connection(host, int(port), request, end) for _ in range(int(connections)))
    print(round(sum(await asyncio.gather(*work)) / float(seconds)))


if __name__ == "__main__":
    asyncio.run(main())
