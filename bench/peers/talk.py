"""The part of check.sh that talks to a server byte by byte.

    python talk.py ADDRESS echo|lines|hello|datagrams

Ends with 1 and a reason if other bytes come back than are owed.
"""

import socket
import sys
import threading

address, app = sys.argv[1:]
host, port = address.split(":")
if app == "datagrams":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.connect((host, int(port)))
        for length in range(1, 1400, 100):
            sent = bytes(at % 251 for at in range(length))
            peer.send(sent)
            if peer.recv(65536) != sent:
                sys.exit("another datagram came back")
    sys.exit()
peer = socket.create_connection((host, int(port)), timeout=20)


def receive(enough):
    got = bytearray()
    while not enough(got):
        got += peer.recv(65536) or sys.exit("closed early")
    return got


def expect_back(parts):
    """Sends the parts while it reads, so that a server that is blocked finds a way out."""
    sending = threading.Thread(target=lambda: [peer.sendall(part) for part in parts])
    sending.start()
    wanted = b"".join(parts)
    got = receive(lambda got: len(got) >= len(wanted))
    sending.join()
    if got != wanted:
        sys.exit("other bytes came back")


if app == "hello":
    peer.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" * 2)
    receive(lambda got: got.count(b"Hello, World!") == 2)
    sys.exit()

expect_back([b"one\n"])
expect_back([b"two\nthr", b"ee\n", b"\n"])
# More than the buffers of both ends hold.
expect_back([b"".join(b"%063d\n" % number for number in range(200_000))])
if app == "lines":
    peer.sendall(b"no end of line")
    peer.settimeout(0.1)
    try:
        sys.exit(f"a partial line came back: {peer.recv(100)}")
    except TimeoutError:
        peer.settimeout(20)
    peer.sendall(b" yet\n")
    wanted = b"no end of line yet\n"
    if receive(lambda got: len(got) >= len(wanted)) != wanted:
        sys.exit("other bytes came back")
