"""An ordinary WebSocket server in front of a TCP port: `websocket_bridge.py PORT TARGET_PORT [OPTION=VALUE…]`.

It accepts permessage-deflate, as the library does by itself; the options are those of its `ServerPerMessageDeflateFactory`.
"""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

PORT, TARGET = int(sys.argv[1]), int(sys.argv[2])
OPTIONS = dict(option.split("=") for option in sys.argv[3:])
OPTIONS = {name: int(value) if value.isdigit() else value == "yes" for name, value in OPTIONS.items()}


async def bridge(ws):
    if not any(extension.name == "permessage-deflate" for extension in ws.protocol.extensions):
        print("no compression was offered", flush=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", TARGET)

    async def up():
        async for message in ws:
            writer.write(message)
            await writer.drain()
        writer.write_eof()

    async def down():
        while data := await reader.read(65536):
            await ws.send(data)
        await ws.close()

    await asyncio.gather(up(), down(), return_exceptions=True)


async def main():
    factory = ServerPerMessageDeflateFactory(**OPTIONS)
    async with serve(bridge, "127.0.0.1", PORT, compression=None, extensions=[factory], max_size=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
