"""asyncio's protocols and transports; on uvloop with BENCH_UVLOOP=1 in the environment.

    python asyncio_server.py echo|lines|datagrams ADDRESS 1

Both loops set TCP_NODELAY, and choose how much they read at once (about 256 KiB).
"""

import asyncio
import os
import sys

BACKLOG = 4096


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    # The peer reads too slowly: so do we.
    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Lines(Echo):
    """A write per line. Both loops make a system call of each."""

    partial = b""

    def data_received(self, data):
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            self.transport.write(line + b"\n")


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        self.transport.sendto(data, peer)


APPS = {"echo": Echo, "lines": Lines, "datagrams": Datagrams}


def usage(problem):
    print(f"{problem}\nusage: asyncio_server.py {'|'.join(APPS)} ADDRESS 1", file=sys.stderr)
    sys.exit(2)


async def serve(protocol, host, port):
    loop = asyncio.get_running_loop()
    if protocol is Datagrams:
        transport, _ = await loop.create_datagram_endpoint(protocol, local_addr=(host, port))
        host, port = transport.get_extra_info("sockname")
        print(f"listening on {host}:{port}", flush=True)
        return await loop.create_future()
    server = await loop.create_server(protocol, host, port, backlog=BACKLOG)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


def main():
    if len(sys.argv) < 4:
        usage("too few arguments")
    app, address, workers = sys.argv[1:4]
    host, _, port = address.rpartition(":")
    if app not in APPS:
        usage(f"no app {app} here")
    if not host or not port.isdigit():
        usage(f"{address} is no address such as 127.0.0.1:0")
    if workers != "1":
        usage("this is one process on one thread: WORKERS must be 1")
    loop_factory = None
    if os.environ.get("BENCH_UVLOOP") == "1":
        import uvloop

        loop_factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve(APPS[app], host, int(port)))
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {address}: {error}")


main()
