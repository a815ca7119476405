"""Twisted's own receivers, at one end of a connection.

    peer.py KIND serve          prints its port, and sends back the frames of one connection
    peer.py KIND connect PORT   sends frames in pieces, and wants each back

A client that has all its frames back sends one that is too long, where the format can say it, and
wants the connection closed for that. The exit code is 0 when all went so.
"""

import sys

from twisted.internet import reactor
from twisted.internet.protocol import ClientFactory, Factory
from twisted.protocols import basic

#: The receiver, its method for a frame, and the lengths that are sent.
KINDS = {
    "line": (basic.LineReceiver, "line", [0, 1, 2, 1000, 16383, 16384]),
    "netstring": (basic.NetstringReceiver, "string", [0, 1, 9, 10, 1000, 99999]),
    "int8": (basic.Int8StringReceiver, "string", [0, 1, 254, 255]),
    "int16": (basic.Int16StringReceiver, "string", [0, 1, 255, 256, 65535]),
    "int32": (basic.Int32StringReceiver, "string", [0, 1, 255, 256, 65536, 99999]),
}
RECEIVER, NOUN, LENGTHS = KINDS[sys.argv[1]]
#: What is too long, as it is sent.
TOO_LONG = {
    "line": b"x" * 16385 + b"\r\n",
    "netstring": b"100000:" + b"x" * 100000 + b",",
    "int32": b"\0\x01\x86\xa0" + b"x" * 100000,
}.get(sys.argv[1])


def frame(length):
    return bytes(i * 7 % 256 for i in range(length))


class Peer(RECEIVER):
    def send(self, frame):
        getattr(self, "send" + NOUN.capitalize())(frame)

    def lineReceived(self, line):
        self.received(line)

    def stringReceived(self, string):
        self.received(string)


class Server(Peer):
    def received(self, frame):
        self.send(frame)

    def connectionLost(self, reason):
        reactor.stop()


class Client(Peer):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.expected = [frame(length) for length in LENGTHS]
        self.failed = True
        # What is sent is cut into pieces of many lengths, and each is a write of its own.
        whole = Recorder()
        self.send_all(whole)
        self.pieces = cut(whole.sent)
        self.send_piece()

    def send_all(self, transport):
        real, self.transport = self.transport, transport
        for expected in self.expected:
            self.send(expected)
        self.transport = real

    def send_piece(self):
        piece = next(self.pieces, None)
        if piece is not None:
            self.transport.write(piece)
            reactor.callLater(0, self.send_piece)

    def received(self, frame):
        if not self.expected or frame != self.expected.pop(0):
            return self.transport.abortConnection()
        if self.expected:
            return
        self.failed = False
        if TOO_LONG is None:
            self.transport.loseConnection()
        else:
            self.transport.write(TOO_LONG)

    def connectionLost(self, reason):
        FAILED.append(self.failed)
        reactor.stop()


class Recorder:
    sent = b""

    def write(self, data):
        self.sent += data

    def writeSequence(self, pieces):
        self.sent += b"".join(pieces)


def cut(sent):
    lengths, at = [1, 2, 3, 5, 800, 1, 30000], 0
    for count in range(len(sent)):
        if at >= len(sent):
            return
        length = 1 if at < 40 else lengths[count % len(lengths)]
        yield sent[at : at + length]
        at += length


FAILED = []
if sys.argv[2] == "serve":
    port = reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()
else:
    reactor.connectTCP("127.0.0.1", int(sys.argv[3]), ClientFactory.forProtocol(Client))
    reactor.run()
    sys.exit(FAILED != [False])
