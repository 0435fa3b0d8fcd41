"""Other ends of WebSockets, by Python's `websockets`: the first argument says which, the others what it is told.

A server prints its port, and then what it hears; a client prints what it hears, and says `ok` at the end.
"""

import asyncio
import socket
import sys

import websockets
from websockets.exceptions import ConnectionClosed


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def late_echo(ws):
    """Works a message off only after a while, as a program does that asks a database."""
    async for message in ws:
        await asyncio.sleep(0.02)
        await ws.send(message)


async def closing(ws):
    """Closes with the code and the reason that the path has."""
    code, _, reason = ws.request.path.strip("/").partition("/")
    await ws.send("before the end")
    await ws.close(int(code), reason.replace("_", " "))


async def closing_at_once(ws):
    """Closes when the first message has come, while others are on their way."""
    await ws.recv()
    await ws.close(1008, "enough")


async def pieces(ws):
    """Fragments, pings between messages, bytes, and a text of more than one line."""
    await ws.send(["one ", "message ", "of four ", "pieces"])
    await ws.ping()
    await ws.send(bytes(range(256)))
    await ws.send("消息\nof two lines")
    async for message in ws:
        print(repr(message), flush=True)


async def listening(ws):
    print("headers", dict(ws.request.headers.raw_items()), flush=True)
    print("subprotocol", ws.subprotocol, "extensions", ws.protocol.extensions, flush=True)
    async for message in ws:
        print(repr(message), flush=True)
    print("closed", ws.close_code, flush=True)


async def serve(handler):
    def agreed(ws, offered):
        return next((one for one in ["chat.v2", "chat.v1"] if one in offered), None)

    async with websockets.serve(
        handler, "127.0.0.1", 0, select_subprotocol=agreed, max_size=None
    ) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


async def measured(url):
    """A client of an echo: texts, bytes, sizes, fragments, pings, and an end in order."""
    async with websockets.connect(url, max_size=None, subprotocols=["a", "b"]) as ws:
        assert ws.protocol.extensions == [], ws.protocol.extensions
        assert ws.subprotocol == "a", ws.subprotocol
        for message in ["", "消息", b"", bytes(range(256)), "x" * 200_000, bytes(10 << 20)]:
            await ws.send(message)
            back = await ws.recv()
            assert back == message and type(back) is type(message), len(message)
        await ws.send(["消", "", "息"])
        assert await ws.recv() == "消息"
        pong = await ws.ping(b"sign")
        await asyncio.wait_for(pong, 5)
    assert ws.close_code == 1000, ws.close_code


async def wrong(url):
    """What breaks the rules is answered with its code."""
    for text, code in [(b"\xff", 1007), (bytes(17 << 20), 1009)]:
        ws = await websockets.connect(url, max_size=None)
        try:
            await ws.send(text, text=len(text) == 1)
            while True:
                await ws.recv()
        except ConnectionClosed as end:
            assert end.rcvd is not None and end.rcvd.code == code, (code, end)


async def member(url, says="", count="1"):
    """Says something in a room, and prints so many messages of others."""
    async with websockets.connect(url, max_size=None) as ws:
        print("in", flush=True)
        if says:
            await ws.send(says)
        for _ in range(int(count)):
            print(repr(await ws.recv()), flush=True)


async def answering(url):
    """A program in a room that answers whatever is said there."""
    async with websockets.connect(url, max_size=None) as ws:
        print("in", flush=True)
        async for message in ws:
            if isinstance(message, str):
                await asyncio.sleep(0.05)
                await ws.send(f"answer to {message}")
            else:
                await ws.send(bytes(reversed(message)))


async def crowd(url, count):
    """So many in one room, one of whom reads nothing: all others hear what one says."""
    async def join(**options):
        return await websockets.connect(url, max_size=None, compression=None, ping_interval=None, **options)

    members = []
    for begin in range(0, int(count), 50):
        members += await asyncio.gather(*(join() for _ in range(begin, min(begin + 50, int(count)))))
    # It has a small window, and its end of the line is never looked at.
    host, port = url.split("/")[2].split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect((host, int(port)))
    path = "/" + url.split("/", 3)[3]
    deaf.sendall(
        f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b" 101 " in deaf.recv(1000)
    await members[0].send("to all")
    heard = await asyncio.wait_for(asyncio.gather(*(one.recv() for one in members[1:])), 30)
    assert set(heard) == {"to all"}
    print("all have heard", flush=True)
    few, rest = members[:3], members[3:]
    await asyncio.gather(*(one.close() for one in rest))
    for n in range(40):
        await few[0].send(bytes([n]) * (1 << 20))
        for one in few[1:]:
            assert (await asyncio.wait_for(one.recv(), 10))[0] == n
    print("the few were not kept waiting", flush=True)
    deaf.close()
    await asyncio.gather(*(one.close() for one in few))


async def main():
    role, *told = sys.argv[1:]
    if role == "serve":
        return await serve(globals()[told[0]])
    await globals()[role](*told)
    print("ok", flush=True)


asyncio.run(main())
