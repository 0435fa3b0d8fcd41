"""What a server says of itself by gRPC reflection, asked with PyPI's `grpcio-reflection`.

    grpc_describe.py SERVER SYMBOL...

Prints the names of the services as a line of JSON, then for each SYMBOL, a service or a message, the names of its methods or
fields; what the server does not describe is `null`. A service is called by what was heard of it, too: its `GetSysStats`.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def main():
    channel = grpc.insecure_channel(sys.argv[1])
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    print(json.dumps(sorted(database.get_services())), flush=True)
    for symbol in sys.argv[2:]:
        print(json.dumps(described(pool, symbol)), flush=True)
    method = pool.FindServiceByName("xray.app.stats.command.StatsService").FindMethodByName("GetSysStats")
    asked = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/xray.app.stats.command.StatsService/GetSysStats",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    print(json.dumps(call(asked()).Alloc > 0))


def described(pool, symbol):
    try:
        return [method.name for method in pool.FindServiceByName(symbol).methods]
    except KeyError:
        pass
    try:
        return [field.name for field in pool.FindMessageTypeByName(symbol).fields]
    except KeyError:
        return None


main()
