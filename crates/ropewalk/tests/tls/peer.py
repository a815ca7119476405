"""Twisted at the other end of a TLS connection.

    peer.py serve FOLDER [NAME]            prints its port, and sends back what comes on one connection
    peer.py connect FOLDER PORT VERSION    sends 100,000 bytes, wants them back, and closes

FOLDER has `roots.pem`, `server.pem` and `client.pem`, each of the latter with its key. The client
wants the server to be `localhost`, shows its own certificate, and speaks only TLS VERSION. The exit
code is 0 when all went so.
"""

import sys
from pathlib import Path

from twisted.internet import endpoints, protocol, reactor, ssl

FOLDER = Path(sys.argv[2])
ROOTS = ssl.Certificate.loadPEM((FOLDER / "roots.pem").read_text())
DATA = bytes(i * 7 % 251 for i in range(100_000))
FAILED = []


def own(name):
    return ssl.PrivateCertificate.loadPEM((FOLDER / name).read_text())


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

    def connectionLost(self, reason):
        reactor.stop()


class Client(protocol.Protocol):
    got = b""

    def connectionMade(self):
        FAILED.append("not all came back")
        self.transport.write(DATA)

    def dataReceived(self, data):
        self.got += data
        if self.got == DATA and self.transport.negotiatedProtocol == b"echo":
            FAILED.clear()
            self.transport.loseConnection()

    def connectionLost(self, reason):
        reactor.stop()


def failed(failure):
    FAILED.append(str(failure))
    reactor.stop()


def serve():
    options = own("server.pem").options(ROOTS)
    options._acceptableProtocols = [b"echo"]
    factory = protocol.Factory.forProtocol(Echo)
    endpoint = endpoints.SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")
    listening = endpoint.listen(factory)
    listening.addCallback(lambda port: print(port.getHost().port, flush=True))


def connect(port, version):
    version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    options = ssl.optionsForClientTLS(
        "localhost",
        trustRoot=ssl.trustRootFromCertificates([ROOTS]),
        clientCertificate=own("client.pem"),
        acceptableProtocols=[b"echo"],
        extraCertificateOptions={
            "insecurelyLowerMinimumTo": version,
            "lowerMaximumSecurityTo": version,
        }
        if version is ssl.TLSVersion.TLSv1_2
        else {"raiseMinimumTo": version},
    )
    endpoint = endpoints.HostnameEndpoint(reactor, "127.0.0.1", port)
    endpoint = endpoints.wrapClientTLS(options, endpoint)
    endpoint.connect(protocol.Factory.forProtocol(Client)).addErrback(failed)


if sys.argv[1] == "serve":
    serve()
else:
    connect(int(sys.argv[3]), sys.argv[4])
reactor.run()
if FAILED:
    sys.exit("; ".join(FAILED))
