"""An ordinary WebSocket client against an echo behind a tunnel: `websocket_client.py ws://HOST:PORT/PATH`."""

import asyncio
import hashlib
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

URL = sys.argv[1]
BASE = URL.rsplit("/", 1)[0]
OPTIONS = {"compression": None, "proxy": None, "max_size": None, "open_timeout": 10}


async def receive(ws, count):
    """The next `count` bytes, however they are cut into messages."""
    got = b""
    while len(got) < count:
        message = await asyncio.wait_for(ws.recv(), 10)
        assert isinstance(message, bytes), f"a text message came: {message!r}"
        got += message
    assert len(got) == count, f"{len(got)} bytes came, {count} were sent"
    return got


async def binary_and_text():
    async with connect(URL, **OPTIONS) as ws:
        await ws.send(b"binary")
        assert await receive(ws, 6) == b"binary"
        await ws.send("text")
        assert await receive(ws, 4) == b"text"
        await ws.send(b"")
        await ws.send(b"after an empty one")
        assert await receive(ws, 18) == b"after an empty one"


async def fragments():
    async with connect(URL, **OPTIONS) as ws:
        await ws.send([b"in ", b"", b"three ", b"pieces"])
        assert await receive(ws, 15) == b"in three pieces"


async def pings():
    async with connect(URL, ping_interval=None, **OPTIONS) as ws:
        for payload in (b"", b"x", b"y" * 125):
            await asyncio.wait_for(await ws.ping(payload), 10)


async def pings_between_fragments():
    async def pieces():
        yield b"one "
        await asyncio.wait_for(await ws.ping(b"between"), 10)
        yield b"two"

    async with connect(URL, **OPTIONS) as ws:
        await ws.send(pieces())
        assert await receive(ws, 7) == b"one two"


async def a_large_message():
    data = os.urandom(4 * 1024 * 1024)
    async with connect(URL, **OPTIONS) as ws:
        _, back = await asyncio.gather(ws.send(data), receive(ws, len(data)))
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


async def close_is_answered():
    ws = await connect(URL, **OPTIONS)
    await ws.send(b"x")
    await receive(ws, 1)
    await asyncio.wait_for(ws.close(1000), 10)
    assert ws.close_code == 1000, ws.close_code


async def wrong_path():
    for path in ("/", "/rays", "/ray/", "/RAY"):
        try:
            await connect(BASE + path, **OPTIONS)
        except InvalidStatus as refused:
            assert refused.response.status_code == 404, refused
        else:
            raise AssertionError(f"{path} is let in")


async def a_query_is_ignored():
    async with connect(URL + "?ed=2048&x=y", **OPTIONS) as ws:
        await ws.send(b"x")
        await receive(ws, 1)


async def deflate_is_declined():
    options = OPTIONS | {"compression": "deflate"}
    async with connect(URL, **options) as ws:
        assert "Sec-WebSocket-Extensions" not in ws.response.headers
        await ws.send(b"x")
        await receive(ws, 1)


async def main():
    failed = False
    for case in (
        binary_and_text,
        fragments,
        pings,
        pings_between_fragments,
        a_large_message,
        close_is_answered,
        wrong_path,
        a_query_is_ignored,
        deflate_is_declined,
    ):
        try:
            await asyncio.wait_for(case(), 30)
            print("ok", case.__name__)
        except BaseException as error:  # noqa: BLE001: every case gets its line
            failed = True
            print("FAILED", case.__name__, repr(error))
    sys.exit(failed)


asyncio.run(main())
