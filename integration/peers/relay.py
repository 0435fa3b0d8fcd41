"""Gost's relay, in a codec of its own, over plain TCP.

relay.py server PORT lazy|prompt    a server with the user u, pw; lazy holds its answer back until the target speaks, as gost
                                    does by default, prompt answers at once
relay.py ask PORT USER PASS TARGET  asks for a stream, waits for the answer as gost's client does with nodelay, says `status N`,
                                    sends a word and prints the echo
relay.py bind PORT LISTEN           has a port opened and answers each visitor with who it is and what it says
"""
import asyncio, socket, struct, sys

SYN, FIN, PSH, NOP = range(4)


def put_address(host, port):
    for kind, family in ((1, socket.AF_INET), (4, socket.AF_INET6)):
        try:
            return bytes([kind]) + socket.inet_pton(family, host) + struct.pack('>H', port)
        except OSError:
            pass
    return bytes([3, len(host)]) + host.encode() + struct.pack('>H', port)


def take_address(b):
    if b[0] == 1:
        host, rest = socket.inet_ntop(socket.AF_INET, b[1:5]), b[5:]
    elif b[0] == 4:
        host, rest = socket.inet_ntop(socket.AF_INET6, b[1:17]), b[17:]
    else:
        host, rest = b[2:2 + b[1]].decode(), b[2 + b[1]:]
    return host, struct.unpack('>H', rest[:2])[0]


def message(code, *features):
    body = b''.join(struct.pack('>BH', kind, len(value)) + value for kind, value in features)
    return struct.pack('>BBH', 1, code, len(body)) + body


async def read_message(reader):
    version, code, length = struct.unpack('>BBH', await reader.readexactly(4))
    assert version == 1, version
    body, features = await reader.readexactly(length), {}
    while body:
        kind, n = struct.unpack('>BH', body[:3])
        features[kind], body = body[3:3 + n], body[3 + n:]
    return code, features


def user(name, password):
    return 1, bytes([len(name)]) + name.encode() + bytes([len(password)]) + password.encode()


async def copy(reader, writer, before=b''):
    try:
        while data := await reader.read(65536):
            writer.write(before + data)
            before = b''
            await writer.drain()
        writer.write(before)
        writer.write_eof()
    except OSError:
        pass


async def serve(reader, writer, lazy):
    code, features = await read_message(reader)
    if features.get(1) != user('u', 'pw')[1]:
        writer.write(message(2))
        writer.close()
        return
    host, port = take_address(features[2])
    if code == 0x81:
        assert features[4] == b'\0\1'
        return await serve_datagrams(reader, writer, host, port, lazy)
    assert code == 1, code
    there, back = await asyncio.open_connection(host, port)
    if not lazy:
        writer.write(message(0))
    await asyncio.gather(copy(reader, back), copy(there, writer, message(0) if lazy else b''))


async def serve_datagrams(reader, writer, host, port, lazy):
    class Back(asyncio.DatagramProtocol):
        before = message(0) if lazy else b''

        def datagram_received(self, data, _):
            writer.write(self.before + struct.pack('>H', len(data)) + data)
            self.before = b''

    if not lazy:
        writer.write(message(0))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Back, remote_addr=(host, port))
    try:
        while True:
            n, = struct.unpack('>H', await reader.readexactly(2))
            transport.sendto(await reader.readexactly(n))
    except asyncio.IncompleteReadError:
        transport.close()


async def ask(port, name, password, target):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    host, target = target.rsplit(':', 1)
    writer.write(message(1, user(name, password), (2, put_address(host, int(target)))))
    status, _ = await read_message(reader)
    print('status', status, flush=True)
    if status == 0:
        writer.write(b'a word')
        print(await reader.readexactly(6), flush=True)
    else:
        print('then', await reader.read(), flush=True)


async def bind(port, listen):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    host, at = listen.rsplit(':', 1)
    # As gost writes an address without a host.
    named = (2, b'\x03' + bytes([len(listen)]) + listen.encode() + b'\0\0') if host == '0.0.0.0:' else (2, put_address(host, int(at)))
    writer.write(message(2, user('u', 'pw'), (4, b'\0\0'), named))
    status, features = await read_message(reader)
    print('status', status, *(take_address(features[2]) if status == 0 else ()), flush=True)
    if status:
        return
    streams = {}

    def frame(command, stream, data=b''):
        writer.write(struct.pack('<BBHI', 1, command, len(data), stream) + data)

    while True:
        version, command, n, stream = struct.unpack('<BBHI', await reader.readexactly(8))
        assert version == 1
        data = await reader.readexactly(n)
        if command == SYN:
            assert stream % 2 == 1, 'the server counts as a client does'
            streams[stream] = asyncio.StreamReader()
            asyncio.ensure_future(visitor(streams[stream], lambda data, s=stream: frame(PSH, s, data), lambda s=stream: frame(FIN, s)))
        elif command == PSH:
            streams[stream].feed_data(data)
        elif command == FIN:
            streams[stream].feed_eof()


async def visitor(reader, say, end):
    status, features = await read_message(reader)
    assert status == 0
    host, _ = take_address(features[2])
    word = await reader.readexactly(6)
    say(f'{host} says {word.decode()}\n'.encode())
    end()


async def main():
    what, *args = sys.argv[1:]
    if what == 'server':
        port, how = args
        server = await asyncio.start_server(lambda r, w: serve(r, w, how == 'lazy'), '127.0.0.1', int(port))
        await server.serve_forever()
    elif what == 'ask':
        await ask(int(args[0]), *args[1:])
    else:
        await bind(int(args[0]), args[1])


asyncio.run(main())
