"""Twisted on its epoll reactor.

    python twisted_server.py echo|lines|hello|json|file|datagrams|tls|tls-resumed ADDRESS 1 [DIR]

It reads 64 KiB at once. Its transports gather what is written, and send it when the reactor finds
the socket writable; twisted.web keeps idle connections for 60 s.

TLS is by pyOpenSSL, with the settings that Twisted chooses. Sessions are resumed by tickets if that
is asked for.
"""

import json
import socket
import sys

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import protocol, reactor
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IPullProducer
from twisted.protocols.basic import LineOnlyReceiver
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File
from zope.interface import implementer

BACKLOG = 4096
HELLO_AND_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, World!"
WITH_FOLDER = ("file", "tls", "tls-resumed")


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)


class Lines(LineOnlyReceiver):
    delimiter = b"\n"

    def lineReceived(self, line):
        self.sendLine(line)


class QuietSite(Site):
    def log(self, request):
        """No access log."""


class Hello(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"content-type", b"text/plain")
        return b"Hello, World!"


class Numbered(Resource):
    """The segment of a path that is a number, and what is below it."""

    def __init__(self, child):
        super().__init__()
        self.child = child

    def getChild(self, path, request):
        return self.child(int(path)) if path.isdigit() else super().getChild(path, request)


class User(Resource):
    def __init__(self, user):
        super().__init__()
        self.putChild(b"orders", Numbered(lambda order: Order(user, order)))


class Order(Resource):
    isLeaf = True

    def __init__(self, user, order):
        super().__init__()
        self.user = user
        self.order = order

    def render_GET(self, request):
        for name, value in (
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"x-request-id", b"0123456789abcdef"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"vary", b"accept"),
        ):
            request.setHeader(name, value)
        order = {
            "user": self.user,
            "order": self.order,
            "state": "shipped",
            "items": [{"name": "rope", "count": 3}, {"name": "hemp", "count": 12}],
        }
        return json.dumps(order, separators=(",", ":")).encode()


def orders():
    root = Resource()
    root.putChild(b"users", Numbered(User))
    return root


class Datagrams(protocol.DatagramProtocol):
    noisy = False

    def datagramReceived(self, data, peer):
        self.transport.write(data, peer)


@implementer(IPullProducer)
class Answers(protocol.Protocol):
    """A short answer and the end for `GET /`, a long one for all else."""

    PIECE = 65536

    def __init__(self, bulk):
        self.bulk = bulk
        self.requests = b""
        self.unsent = []

    def dataReceived(self, data):
        *heads, self.requests = (self.requests + data).split(b"\r\n\r\n")
        for head in heads:
            if head.startswith(b"GET / "):
                self.transport.write(HELLO_AND_CLOSE)
                self.transport.loseConnection()
            else:
                if not self.unsent:
                    self.transport.registerProducer(self, False)
                self.unsent += [self.bulk]

    def resumeProducing(self):
        first = self.unsent[0]
        self.transport.write(bytes(first[: self.PIECE]))
        self.unsent[:1] = [first[self.PIECE :]] if len(first) > self.PIECE else []
        if not self.unsent:
            self.transport.unregisterProducer()

    def stopProducing(self):
        self.unsent = []


def secured(folder, resumed):
    """Answers over TLS."""
    # Only these apps need pyOpenSSL.
    from twisted.internet import ssl
    from twisted.protocols.tls import TLSMemoryBIOFactory

    with open(f"{folder}/site.pem") as chain, open(f"{folder}/site.key") as key:
        own = ssl.PrivateCertificate.loadPEM(chain.read() + key.read())
    options = ssl.CertificateOptions(
        privateKey=own.privateKey.original,
        certificate=own.original,
        enableSessions=resumed,
        enableSessionTickets=resumed,
    )
    with open(f"{folder}/bulk.bin", "rb") as file:
        body = file.read()
    bulk = memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    factory = protocol.Factory.forProtocol(lambda: Answers(bulk))
    factory.noisy = False
    return TLSMemoryBIOFactory(options, False, factory)


APPS = {
    "echo": lambda _: protocol.Factory.forProtocol(Echo),
    "lines": lambda _: protocol.Factory.forProtocol(Lines),
    "hello": lambda _: QuietSite(Hello()),
    "json": lambda _: QuietSite(orders()),
    "file": lambda folder: QuietSite(File(folder)),
    "datagrams": lambda _: Datagrams(),
    "tls": lambda folder: secured(folder, False),
    "tls-resumed": lambda folder: secured(folder, True),
}


def usage(problem):
    print(f"{problem}\nusage: twisted_server.py {'|'.join(APPS)} ADDRESS 1 [DIR]", file=sys.stderr)
    sys.exit(2)


def main():
    if len(sys.argv) < 4:
        usage("too few arguments")
    app, address, workers, *folder = sys.argv[1:]
    host, _, port = address.rpartition(":")
    if app not in APPS:
        usage(f"no app {app} here")
    if not host or not port.isdigit():
        usage(f"{address} is no address such as 127.0.0.1:0")
    if workers != "1":
        usage("this is one process on one thread: WORKERS must be 1")
    if app in WITH_FOLDER and not folder:
        usage(f"the app {app} needs a DIR")
    factory = APPS[app](folder[0] if folder else None)
    factory.noisy = False
    try:
        if app == "datagrams":
            listener = reactor.listenUDP(int(port), factory, interface=host)
        else:
            listener = reactor.listenTCP(int(port), factory, backlog=BACKLOG, interface=host)
            # Accepted sockets inherit it.
            listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except CannotListenError as error:
        sys.exit(str(error))
    bound = listener.getHost()
    print(f"listening on {bound.host}:{bound.port}", flush=True)
    reactor.run()


main()
