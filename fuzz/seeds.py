#!/usr/bin/env python3
"""Writes the cases of crates/web/tests/corpus as inputs to begin with, into fuzz/corpus (or the folder that
is given). How a case is written down is told in the README there."""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE.parent / "crates/web/tests/corpus"
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|\{(.*?)\*(\d+)\}|(.))")
PLAIN = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescape(text):
    parts, at = [], 0
    for escape in ESCAPE.finditer(text):
        parts.append(text[at : escape.start()].encode())
        byte, repeated, count, plain = escape.groups()
        if byte:
            parts.append(bytes.fromhex(byte))
        elif count:
            parts.append(unescape(repeated) * int(count))
        else:
            parts.append(PLAIN[plain])
        at = escape.end()
    return b"".join(parts) + text[at:].encode()


def cases():
    """Topic, name and bytes of each."""
    for file in sorted(CASES.glob("*.txt")):
        for case in file.read_text().split("\ncase ")[1:]:
            name, *lines = case.splitlines()
            sent = [unescape(line[2:]) for line in lines if line.startswith("> ")]
            yield file.stem, name, b"".join(sent)


folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
for topic, name, sent in cases():
    if len(sent) > 2000:
        continue
    seeds = {"h1_connection": sent, "h1_request_head": sent}
    if topic in ("chunks", "trailers"):
        seeds["h1_chunked"] = sent.partition(b"\r\n\r\n")[2]
    for target, seed in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        (folder / target / name).write_bytes(seed)
