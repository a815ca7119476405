"""The `websockets` package on asyncio, without compression, which the load does not offer.

    python websockets_server.py websocket ADDRESS 1
"""

import asyncio
import sys

import websockets

BACKLOG = 4096


def usage(problem):
    print(f"{problem}\nusage: websockets_server.py websocket ADDRESS 1", file=sys.stderr)
    sys.exit(2)


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def serve(host, port):
    async with websockets.serve(echo, host, port, compression=None, backlog=BACKLOG) as server:
        host, port = server.sockets[0].getsockname()
        print(f"listening on {host}:{port}", flush=True)
        await server.serve_forever()


def main():
    if len(sys.argv) < 4:
        usage("too few arguments")
    app, address, workers = sys.argv[1:4]
    host, _, port = address.rpartition(":")
    if app != "websocket":
        usage(f"no app {app} here")
    if not host or not port.isdigit():
        usage(f"{address} is no address such as 127.0.0.1:0")
    if workers != "1":
        usage("this is one process on one thread: WORKERS must be 1")
    try:
        asyncio.run(serve(host, int(port)))
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {address}: {error}")


main()
