"""requests, httpx and aiohttp against the store at the address that is given."""
import asyncio
import sys

import aiohttp
import httpx
import requests

BASE = sys.argv[1]
LONG = bytes(range(256)) * 12_000


def pieces():
    for start in range(0, len(LONG), 10_000):
        yield LONG[start : start + 10_000]


def with_requests():
    with requests.Session() as session:
        assert session.put(f"{BASE}/requests", data=LONG).status_code == 201
        # A generator is sent in chunks.
        assert session.put(f"{BASE}/requests", data=pieces()).status_code == 200
        assert session.get(f"{BASE}/requests").content == LONG
        head = session.head(f"{BASE}/requests")
        assert head.headers["content-length"] == str(len(LONG)) and head.content == b""
        with session.get(f"{BASE}/requests", stream=True) as response:
            assert b"".join(response.iter_content(4096)) == LONG
        assert session.get(f"{BASE}/nowhere").status_code == 404
        assert session.delete(f"{BASE}/requests").status_code == 204
        waits = {"Expect": "100-continue"}
        assert session.post(f"{BASE}/requests", data=b"x", headers=waits).status_code == 201
        # All of it over one connection.
        pools = session.get_adapter(BASE).poolmanager.pools
        assert [pools[key].num_connections for key in pools.keys()] == [1]


def with_httpx():
    with httpx.Client() as client:
        assert client.put(f"{BASE}/httpx", content=pieces()).status_code == 201
        response = client.get(f"{BASE}/httpx")
        assert response.content == LONG and response.http_version == "HTTP/1.1"
        with client.stream("GET", f"{BASE}/httpx") as response:
            assert b"".join(response.iter_bytes()) == LONG
        assert client.request("DELETE", f"{BASE}/httpx", content=b"a body").status_code == 204


async def with_aiohttp():
    async def sent():
        for piece in pieces():
            yield piece

    async with aiohttp.ClientSession() as session:
        async with session.put(f"{BASE}/aiohttp", data=sent()) as response:
            assert response.status == 201
        async with session.put(f"{BASE}/aiohttp", data=LONG, expect100=True) as response:
            assert response.status == 200

        async def get():
            async with session.get(f"{BASE}/aiohttp") as response:
                return await response.read()

        assert all(body == LONG for body in await asyncio.gather(*(get() for _ in range(20))))
    old = aiohttp.ClientSession(version=aiohttp.HttpVersion10)
    async with old, old.get(f"{BASE}/aiohttp") as response:
        assert await response.read() == LONG


with_requests()
with_httpx()
asyncio.run(with_aiohttp())
print("all is well")
