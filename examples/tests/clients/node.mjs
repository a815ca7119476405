// Node's own fetch, and undici with pipelining, against the store at the address that is given.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [base, modules] = process.argv.slice(2);
const { Client } = createRequire(`${modules}/`)("undici");
const long = Buffer.alloc(3_000_000, "Ropewalk");

async function withFetch() {
  const put = (options) => fetch(`${base}/fetch`, { method: "PUT", ...options });
  assert.equal((await put({ body: long })).status, 201);
  // A stream is sent in chunks.
  const body = new Blob([long]).stream();
  assert.equal((await put({ body, duplex: "half" })).status, 200);
  const response = await fetch(`${base}/fetch`);
  assert.equal(response.headers.get("content-length"), String(long.length));
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), long);
  const head = await fetch(`${base}/fetch`, { method: "HEAD" });
  assert.equal(head.headers.get("content-length"), String(long.length));
  assert.equal((await fetch(`${base}/nowhere`)).status, 404);
  assert.equal((await fetch(`${base}/fetch`, { method: "DELETE" })).status, 204);
}

async function withPipelining() {
  const client = new Client(base, { pipelining: 16 });
  let connections = 0;
  client.on("connect", () => (connections += 1));
  const numbers = [...Array(200).keys()];
  const put = (number) =>
    client.request({ method: "PUT", path: `/${number}`, body: `number ${number}`, idempotent: true });
  for (const { statusCode, body } of await Promise.all(numbers.map(put))) {
    assert.equal(statusCode, 201);
    await body.dump();
  }
  const get = async (number) => {
    const { body } = await client.request({ method: "GET", path: `/${number}` });
    assert.equal(await body.text(), `number ${number}`);
  };
  await Promise.all(numbers.map(get));
  assert.equal(connections, 1);
  await client.close();
}

await withFetch();
await withPipelining();
console.log("all is well");
