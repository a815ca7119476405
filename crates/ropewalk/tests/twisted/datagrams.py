"""Twisted's own datagram protocols, at one end.

    datagrams.py serve          prints its port, and sends back what comes, until it is killed
    datagrams.py connect PORT   sends datagrams of many sizes, and wants each back

The exit code is 0 when all came back.
"""

import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol

SIZES = [0, 1, 500, 1472, 8000, 60000]


class Echo(DatagramProtocol):
    def datagramReceived(self, data, address):
        self.transport.write(data, address)


class Ask(DatagramProtocol):
    def startProtocol(self):
        self.transport.connect("127.0.0.1", int(sys.argv[2]))
        self.sizes = list(SIZES)
        self.ask()

    def ask(self):
        self.expected = bytes(i * 7 % 256 for i in range(self.sizes.pop(0)))
        self.transport.write(self.expected)

    def datagramReceived(self, data, address):
        if data != self.expected:
            sys.exit(1)
        if self.sizes:
            self.ask()
        else:
            reactor.stop()


if sys.argv[1] == "serve":
    port = reactor.listenUDP(0, Echo(), interface="127.0.0.1", maxPacketSize=65536)
    print(port.getHost().port, flush=True)
else:
    reactor.listenUDP(0, Ask(), interface="127.0.0.1", maxPacketSize=65536)
reactor.run()
