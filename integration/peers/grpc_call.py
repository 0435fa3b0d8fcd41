"""Calls a method of V2Ray's API as any gRPC client would, with nothing but the `.proto` files.

    grpc_call.py PROTO_DIR SERVER [--xray | --xray-form] [--count N] METHOD REQUEST [METHOD REQUEST]...

METHOD is `app.stats.command.StatsService/QueryStats`, REQUEST its message in JSON. A JSON object with
`@type` stands for a TypedMessage; a type that begins with `types.v2fly.org/` keeps that. `@FILE` is read
from there. `--xray` puts Xray's names on V2Ray's messages, `--xray-form` takes Xray's own. Each answer is one line of JSON; of a stream, `{}` and then the first N. An error is `{"code": .., "error": ..}`.
"""

import base64
import glob
import json
import os
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

V2RAY = "v2ray.core."


def pool_of(folder, family):
    with tempfile.NamedTemporaryFile() as out:
        files = sorted(glob.glob(os.path.join(folder, family, "*.proto")))
        args = ["protoc", f"-I{folder}", "--include_imports", f"--descriptor_set_out={out.name}"]
        assert protoc.main(args + files) == 0
        found = descriptor_pb2.FileDescriptorSet.FromString(open(out.name, "rb").read())
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return pool


def main():
    args = sys.argv[1:]
    folder, server = args[:2]
    args = args[2:]
    xray = "--xray" in args
    if xray:
        args.remove("--xray")
    form = "--xray-form" in args
    if form:
        args.remove("--xray-form")
    prefix = "xray." if form else V2RAY
    count = 1
    if "--count" in args:
        at = args.index("--count")
        count = int(args[at + 1])
        del args[at : at + 2]
    pool = pool_of(folder, "xray" if form else "v2ray")

    def message(name, value):
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        return json_format.ParseDict(value, kind())

    def sealed(value):
        """Inner messages first."""
        if isinstance(value, list):
            return [sealed(one) for one in value]
        if not isinstance(value, dict):
            return value
        value = {key: sealed(one) for key, one in value.items()}
        kind = value.pop("@type", None)
        if kind is None:
            return value
        name = prefix + kind.removeprefix("types.v2fly.org/")
        data = message(name, value).SerializeToString()
        if kind.startswith("types."):
            name = "types.v2fly.org/" + name
        elif xray:
            name = "xray." + kind
        return {"type": name, "value": base64.b64encode(data).decode()}

    with grpc.insecure_channel(server) as channel:
        for method, request in zip(args[::2], args[1::2]):
            service, name = (prefix + method).split("/")
            found = pool.FindServiceByName(service).FindMethodByName(name)
            if request.startswith("@"):
                request = open(request[1:]).read()
            asked = message(found.input_type.full_name, sealed(json.loads(request)))
            answer = message_factory.GetMessageClass(found.output_type)
            path = f"/{'xray.' if xray else prefix}{method}"
            kind = channel.unary_stream if found.server_streaming else channel.unary_unary
            call = kind(
                path,
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            try:
                answers = call(asked, timeout=10)
                if not found.server_streaming:
                    answers = [answers]
                elif count > 0:
                    print("{}", flush=True)
                for _, one in zip(range(count), answers):
                    print(json_format.MessageToJson(one, indent=None), flush=True)
            except grpc.RpcError as error:
                print(json.dumps({"code": error.code().name, "error": error.details()}), flush=True)


main()
