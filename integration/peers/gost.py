"""Speaks WebSocket, smux and HTTP's CONNECT as gost does, from its description alone.

gost.py server PORT VERSION     serves mws at /ws: each stream is a CONNECT that is carried out, windows are gost's 64 KiB
gost.py client PORT VERSION TO  opens streams over mws and sends through each of them to TO, an echo; says `ok`
"""
import asyncio, base64, hashlib, os, struct, sys

SYN, FIN, PSH, NOP, UPD = range(5)
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
WINDOW = 65536


class Web:
    """Messages over an upgraded connection."""

    def __init__(self, reader, writer, masks):
        self.reader, self.writer, self.masks = reader, writer, masks

    async def read(self):
        """The next message; None at the end."""
        whole = b""
        while True:
            try:
                a, b = await self.reader.readexactly(2)
                n = b & 127
                if n == 126:
                    (n,) = struct.unpack(">H", await self.reader.readexactly(2))
                elif n == 127:
                    (n,) = struct.unpack(">Q", await self.reader.readexactly(8))
                assert bool(b & 128) != self.masks, "a client masks, a server does not"
                key = await self.reader.readexactly(4) if b & 128 else b"\0\0\0\0"
                data = await self.reader.readexactly(n)
            except asyncio.IncompleteReadError:
                return None
            data = bytes(x ^ key[i & 3] for i, x in enumerate(data)) if any(key) else data
            if a & 15 == 8:
                return None
            if a & 15 == 9:
                self.send(data, 10)
            elif a & 15 in (0, 1, 2):
                whole += data
                if a & 128:
                    return whole

    def send(self, data, opcode=2):
        n, m = len(data), 128 if self.masks else 0
        head = bytes([128 | opcode])
        head += bytes([m | n]) if n < 126 else bytes([m | 126]) + struct.pack(">H", n) if n < 65536 else bytes([m | 127]) + struct.pack(">Q", n)
        if self.masks:
            key = os.urandom(4)
            head += key
            pad = key * (n // 4 + 1)
            data = (int.from_bytes(data, "big") ^ int.from_bytes(pad[:n], "big")).to_bytes(n, "big")
        self.writer.write(head + data)


class Session:
    """Streams over messages; each frame is a message of its own."""

    def __init__(self, web, version, door=None):
        self.web, self.version, self.door = web, version, door
        self.streams, self.first, self.last = {}, None, 1

    def frame(self, command, stream, data=b""):
        self.web.send(struct.pack("<BBHI", self.version, command, len(data), stream) + data)

    async def run(self):
        held = b""
        while (message := await self.web.read()) is not None:
            held += message
            while len(held) >= 8:
                version, command, n, sid = struct.unpack_from("<BBHI", held)
                if len(held) < 8 + n:
                    break
                data, held = held[8:8 + n], held[8 + n:]
                if self.version == 0:
                    self.version = version
                assert version == self.version and command <= UPD, (version, command)
                assert n == 0 or command in (PSH, UPD), "only these have data"
                self.first = self.first or command
                self.take(command, sid, data)
            await self.web.writer.drain()
        for stream in self.streams.values():
            stream.inbox.put_nowait(None)

    def take(self, command, sid, data):
        if command == SYN:
            assert sid not in self.streams
            stream = self.streams[sid] = Stream(self, sid)
            asyncio.ensure_future(self.door(stream))
        elif sid in self.streams:
            stream = self.streams[sid]
            if command == PSH:
                stream.unread += len(data)
                assert self.version == 1 or stream.unread <= stream.window, "more than the window"
                stream.inbox.put_nowait(data)
            elif command == FIN:
                stream.ended = True
                stream.inbox.put_nowait(None)
                stream.room.set()
            elif command == UPD:
                assert self.version == 2
                stream.consumed, stream.peer_window = struct.unpack("<II", data)
                stream.room.set()

    def open(self):
        self.last += 2
        stream = self.streams[self.last] = Stream(self, self.last)
        self.frame(SYN, self.last)
        return stream


class Stream:
    def __init__(self, session, sid):
        self.session, self.sid = session, sid
        self.inbox, self.room, self.ended = asyncio.Queue(), asyncio.Event(), False
        self.sent = self.consumed = self.read_so_far = self.told = self.unread = 0
        self.window = self.peer_window = 262144

    async def read(self):
        """What one frame had, as gost reads; None at the end."""
        data = await self.inbox.get()
        if data is None:
            return None
        self.unread -= len(data)
        self.read_so_far += len(data)
        if self.session.version == 2 and (self.told == 0 or self.read_so_far - self.told >= WINDOW // 2):
            self.told, self.window = self.read_so_far, max(WINDOW, self.unread)
            self.session.frame(UPD, self.sid, struct.pack("<II", self.read_so_far & 0xFFFFFFFF, WINDOW))
        return data

    async def write(self, data):
        while data:
            room = self.peer_window - (self.sent - self.consumed) if self.session.version == 2 else len(data)
            if self.ended:
                raise BrokenPipeError
            if room <= 0:
                self.room.clear()
                await self.room.wait()
                continue
            piece, data = data[:min(room, 32768)], data[min(room, 32768):]
            self.sent += len(piece)
            self.session.frame(PSH, self.sid, piece)
            await self.session.web.writer.drain()

    def close(self):
        if self.session.streams.pop(self.sid, None):
            self.session.frame(FIN, self.sid)


async def head(reader):
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = text.split("\r\n")
    return first, {k.lower(): v for k, v in (line.split(": ", 1) for line in lines if line)}


def accept(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


async def serve(port, version):
    async def carry(stream):
        request = await stream.read()
        line = request.split(b"\r\n")[0].decode()
        assert line.startswith("CONNECT "), line
        host, to = line.split()[1].rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(to))
        await stream.write(b"HTTP/1.1 200 Connection established\r\nProxy-Agent: gost/3.0\r\n\r\n")

        async def up():
            while (data := await stream.read()) is not None:
                writer.write(data)
                await writer.drain()
            writer.close()

        task = asyncio.ensure_future(up())
        try:
            while data := await reader.read(32768):
                await stream.write(data)
        except (BrokenPipeError, ConnectionError):
            pass
        stream.close()
        await task

    async def connection(reader, writer):
        first, fields = await head(reader)
        if first != "GET /ws HTTP/1.1":
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return writer.close()
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept(fields['sec-websocket-key'])}\r\n\r\n".encode())
        session = Session(Web(reader, writer, False), version, carry)
        try:
            await session.run()
        except AssertionError as wrong:
            print("wrong:", wrong, flush=True)
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def client(port, version, to):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n".encode())
    first, fields = await head(reader)
    assert first == "HTTP/1.1 101 Switching Protocols" and fields["sec-websocket-accept"] == accept(key), first
    session = Session(Web(reader, writer, True), version)
    running = asyncio.ensure_future(session.run())

    async def talk(n):
        stream = session.open()
        await stream.write(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: Go-http-client/1.1\r\nProxy-Authorization: Basic dTpwdw==\r\nProxy-Connection: keep-alive\r\n\r\n".encode())
        answer = await stream.read()
        # Whatever else came with it, gost would throw away.
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n"), answer
        data = os.urandom(1000 + 60000 * n)
        sending = asyncio.ensure_future(stream.write(data))
        back = b""
        while len(back) < len(data):
            piece = await stream.read()
            assert piece is not None, f"it ended after {len(back)} of {len(data)}"
            back += piece
        await sending
        assert back == data
        stream.close()

    await asyncio.gather(*(talk(n) for n in range(20)))
    assert not running.done(), running
    print("ok", flush=True)


async def main():
    role, port, version = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    await (serve(port, version) if role == "server" else client(port, version, sys.argv[4]))


asyncio.run(main())
