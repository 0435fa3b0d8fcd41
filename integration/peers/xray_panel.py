"""A panel with Xray's own messages, as PyPI's `python-xray-api` carries them.

    xray_panel.py SERVER [--tls AUTHORITY NAME] STEP [STEP]...

STEP is a list in JSON, each is answered by a line of JSON: `["add", TAG, PROTOCOL, KEY, EMAIL]`, `["remove", TAG, EMAIL]`,
`["count", TAG]`, `["emails", TAG]`, `["stats", PATTERN]`, `["inbounds"]`, `["sys"]`. An error is its code.
"""

import json
import sys

import grpc
from xray.app.proxyman.command import command_pb2 as handler
from xray.app.proxyman.command import command_pb2_grpc as handler_calls
from xray.app.stats.command import command_pb2 as stats
from xray.app.stats.command import command_pb2_grpc as stats_calls
from xray.common.protocol import user_pb2
from xray.common.serial import typed_message_pb2
from xray.proxy.trojan import config_pb2 as trojan
from xray.proxy.vless import account_pb2 as vless
from xray.proxy.vmess import account_pb2 as vmess


def sealed(message):
    name, value = message.DESCRIPTOR.full_name, message.SerializeToString()
    return typed_message_pb2.TypedMessage(type=name, value=value)


ACCOUNTS = {
    "vmess": lambda key: vmess.Account(id=key),
    "vless": lambda key: vless.Account(id=key, encryption="none"),
    "trojan": lambda key: trojan.Account(password=key),
}


def main():
    server, args = sys.argv[1], sys.argv[2:]
    channel = grpc.insecure_channel(server)
    if args[0] == "--tls":
        with open(args[1], "rb") as authority:
            credentials = grpc.ssl_channel_credentials(authority.read())
        options = [("grpc.ssl_target_name_override", args[2])]
        channel = grpc.secure_channel(server, credentials, options)
        args = args[3:]
    handlers = handler_calls.HandlerServiceStub(channel)
    counters = stats_calls.StatsServiceStub(channel)

    def alter(tag, operation):
        handlers.AlterInbound(handler.AlterInboundRequest(tag=tag, operation=sealed(operation)))
        return {}

    def add(tag, protocol, key, email):
        account = sealed(ACCOUNTS[protocol](key))
        user = user_pb2.User(level=0, email=email, account=account)
        return alter(tag, handler.AddUserOperation(user=user))

    def users(tag):
        return handlers.GetInboundUsers(handler.GetInboundUserRequest(tag=tag)).users

    steps = {
        "add": add,
        "remove": lambda tag, email: alter(tag, handler.RemoveUserOperation(email=email)),
        "count": lambda tag: handlers.GetInboundUsersCount(
            handler.GetInboundUserRequest(tag=tag)
        ).count,
        "emails": lambda tag: [user.email for user in users(tag)],
        "stats": lambda pattern: {
            stat.name: stat.value
            for stat in counters.QueryStats(stats.QueryStatsRequest(pattern=pattern)).stat
        },
        "inbounds": lambda: [
            inbound.tag
            for inbound in handlers.ListInbounds(handler.ListInboundsRequest()).inbounds
        ],
        "sys": lambda: counters.GetSysStats(stats.SysStatsRequest()).Alloc > 0,
    }
    for step in args:
        name, *args = json.loads(step)
        try:
            answer = steps[name](*args)
        except grpc.RpcError as error:
            answer = error.code().name
        print(json.dumps(answer), flush=True)


main()
