// Node's own net, http and dgram. More than one worker: processes, by its cluster module.
//
//     node server.js echo|lines|hello|json|datagrams ADDRESS WORKERS
"use strict";
const cluster = require("node:cluster");
const dgram = require("node:dgram");
const http = require("node:http");
const net = require("node:net");

const APPS = { echo, lines, hello, json, datagrams };
const KEEP_ALIVE_MS = 75_000;
const BACKLOG = 4096;

const [app, address, workersText] = process.argv.slice(2);
const [host, port] = (address ?? "").split(":");
const workers = Number(workersText);
if (workersText === undefined) usage("too few arguments");
if (!Object.hasOwn(APPS, app)) usage(`no app ${app} here`);
if (!host || !/^\d+$/.test(port ?? "")) usage(`${address} is no address such as 127.0.0.1:0`);
if (!Number.isInteger(workers) || workers < 1) usage(`${workersText} is no number of workers, 1 or more`);

function usage(problem) {
  console.error(`${problem}\nusage: node server.js ${Object.keys(APPS).join("|")} ADDRESS WORKERS`);
  process.exit(2);
}

function announce(bound) {
  console.log(`listening on ${bound.address}:${bound.port}`);
}

if (workers > 1 && cluster.isPrimary) {
  let ready = 0;
  cluster.on("listening", (_, bound) => {
    ready += 1;
    if (ready === workers) announce(bound);
  });
  cluster.on("exit", () => process.exit(1));
  for (let i = 0; i < workers; i++) cluster.fork();
} else {
  const server = APPS[app]();
  server.on("error", (error) => {
    console.error(`cannot listen on ${address}: ${error.message}`);
    process.exit(1);
  });
  const ready = () => {
    if (cluster.isPrimary) announce(server.address());
  };
  if (app === "datagrams") server.bind(Number(port), host, ready);
  else server.listen({ host, port: Number(port), backlog: BACKLOG }, ready);
}

function echo() {
  return net.createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  });
}

// A write per line, corked while there is a whole line left: Node's idiom for many small writes.
function lines() {
  return net.createServer({ noDelay: true }, (socket) => {
    let partial = null;
    socket.on("error", () => socket.destroy());
    socket.on("drain", () => socket.resume());
    socket.on("data", (data) => {
      if (partial) data = Buffer.concat([partial, data]);
      let start = 0;
      let more = true;
      socket.cork();
      for (let end; (end = data.indexOf(10, start)) >= 0; start = end + 1) {
        more = socket.write(data.subarray(start, end + 1));
      }
      socket.uncork();
      partial = start < data.length ? data.subarray(start) : null;
      if (!more && socket.writableNeedDrain) socket.pause();
    });
  });
}

function datagrams() {
  const socket = dgram.createSocket("udp4");
  socket.on("message", (data, peer) => socket.send(data, peer.port, peer.address));
  return socket;
}

function httpServer(answer) {
  return http.createServer({ keepAliveTimeout: KEEP_ALIVE_MS, noDelay: true }, answer);
}

function notFound(response) {
  response.writeHead(404, { "content-length": 0 });
  response.end();
}

function hello() {
  return httpServer((request, response) => {
    if (request.url !== "/") return notFound(response);
    response.writeHead(200, { "content-type": "text/plain", "content-length": 13 });
    response.end("Hello, World!");
  });
}

const ORDER_PATH = /^\/users\/(\d+)\/orders\/(\d+)$/;

function json() {
  return httpServer((request, response) => {
    const match = ORDER_PATH.exec(request.url);
    if (!match) return notFound(response);
    const body = JSON.stringify({
      user: Number(match[1]),
      order: Number(match[2]),
      state: "shipped",
      items: [
        { name: "rope", count: 3 },
        { name: "hemp", count: 12 },
      ],
    });
    response.writeHead(200, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      "cache-control": "no-store",
      "x-request-id": "0123456789abcdef",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      vary: "accept",
    });
    response.end(body);
  });
}
