"""A front of MiaoSpeed, as miaospeedlib makes one: prints each message of the back end as a line.

The first argument is a JSON object: address, token, path, tls, nodes, matrices, scripts, configs, alive.
"""

import asyncio
import json
import sys

import aiohttp
from loguru import logger
from miaospeedlib.backend import MiaoSpeed
from miaospeedlib.types.config import MiaoSpeedSlave
from miaospeedlib.types.miaospeed import (
    Script,
    SlaveRequest,
    SlaveRequestConfigs,
    SlaveRequestMatrixEntry,
    SlaveRequestMatrixType,
    SlaveRequestOptions,
)


def slave(told):
    one = MiaoSpeedSlave()
    one.type = "miaospeed"
    one.address = told["address"]
    one.token = told["token"]
    one.path = told.get("path", "/")
    one.tls = told.get("tls", False)
    one.skipCertVerify = True
    one.invoker = told.get("invoker", "42")
    return one


async def ask(told):
    matrices = [SlaveRequestMatrixEntry(SlaveRequestMatrixType(name), "") for name in told["matrices"]]
    scripts = [Script(**script) for script in told.get("scripts", [])]
    media = [one for one in scripts if one.Type == "media"]
    matrices += [SlaveRequestMatrixEntry(SlaveRequestMatrixType.TEST_SCRIPT, one.ID) for one in media]
    configs = SlaveRequestConfigs()
    for key, value in told.get("configs", {}).items():
        setattr(configs, key, value)
    configs.Scripts = scripts
    configs.patch_version()
    request = SlaveRequest(Options=SlaveRequestOptions(Matrices=matrices), Configs=configs)
    request.Basics.Invoker = told.get("invoker", "42")
    front = MiaoSpeed(slave(told), request, told["nodes"])
    front.sign_request()
    scheme, verify = front.get_ws_opt()
    place = f"{scheme}://{front.host}:{front.port}{front.path}"
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(place, verify_ssl=verify) as socket:
            await socket.send_str(front.SlaveRequest.to_json())
            async for message in socket:
                print(message.data.strip(), flush=True)
                answer = json.loads(message.data)
                if answer["Result"] is not None or answer["Error"]:
                    break
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)


async def main():
    told = json.loads(sys.argv[1])
    logger.remove()
    if told.get("alive"):
        print(json.dumps(await MiaoSpeed.isalive(slave(told))))
    else:
        await ask(told)


asyncio.run(main())
