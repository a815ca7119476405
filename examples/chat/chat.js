// The page of the chat: a WebSocket for what is said, an event stream for the figures beside it. It
// connects again by itself, and asks for what was said meanwhile. What others wrote is only ever shown as
// text.
"use strict";

const at = (id) => document.getElementById(id);
const KEPT = 200;
const PATIENCE = 10_000;

let own = null; // our name, once we have one
let last = 0; // the last message that we have seen
let socket = null;
let wait = 500; // before the next try, in milliseconds

function state(text, kind) {
  at("state").textContent = text;
  at("state").dataset.state = kind;
}

// Which of the two forms there is: for a name, or for what is to be said.
function ask(form) {
  at("name-form").hidden = form !== "name-form";
  at("say-form").hidden = form !== "say-form";
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function show(message) {
  if (message.at <= last) return;
  last = message.at;
  const list = at("messages");
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  const item = document.createElement("li");
  const said = new Date(message.at);
  const time = element("time", said.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = said.toISOString();
  if (message.from === null) {
    item.className = "note";
  } else {
    const hue = [...message.from].reduce((hue, letter) => (hue * 31 + letter.codePointAt(0)) % 360, 7);
    item.style.setProperty("--hue", hue);
    item.classList.toggle("own", message.from === own);
    item.append(element("b", message.from));
  }
  item.append(time, element("span", message.text));
  list.append(item);
  while (list.children.length > KEPT) list.firstElementChild.remove();
  if (follows) list.scrollTop = list.scrollHeight;
}

// Says who we are. The answer says whether that is so from now on.
function introduce(name) {
  const headers = { "content-type": "application/json" };
  return fetch("/api/me", { method: "PUT", headers, body: JSON.stringify({ name }) });
}

// Finds out who we are, and connects. A server that was started anew is told again.
async function begin() {
  try {
    let answer = await fetch("/api/me");
    if (!answer.ok) return again();
    const known = (await answer.json()).name;
    if (known === null && own === null) return rename("");
    if (known === null) {
      answer = await introduce(own);
      if (!answer.ok) return rename(await answer.text());
    }
    own ??= known;
    connect();
  } catch {
    again();
  }
}

function rename(error) {
  own = null;
  state("not joined", "waiting");
  ask("name-form");
  at("name-error").textContent = error;
  at("name").focus();
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/api/chat?after=${last}`);
  socket.onopen = () => {
    wait = 500;
    state(`connected as ${own}`, "up");
    ask("say-form");
    at("text").focus();
  };
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = again;
}

let waiting = null;
function again() {
  state("connection lost, trying again", "down");
  waiting = setTimeout(begin, wait * (0.5 + Math.random() / 2));
  wait = Math.min(wait * 2, PATIENCE);
}

// A network that is back need not be waited for.
addEventListener("online", () => {
  if (at("state").dataset.state !== "down") return;
  clearTimeout(waiting);
  begin();
});

at("name-form").onsubmit = async (event) => {
  event.preventDefault();
  try {
    const answer = await introduce(at("name").value);
    if (!answer.ok) return rename(await answer.text());
    own = (await answer.json()).name;
    at("name-error").textContent = "";
    connect();
  } catch {
    rename("The server cannot be reached; try again.");
  }
};

at("say-form").onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(at("text").value);
  at("text").value = "";
};

const rates = [];
function plot(rate) {
  rates.push(rate);
  if (rates.length > 61) rates.shift();
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, n) => `${(n + 61 - rates.length) * 4},${79 - (rate / most) * 75}`);
  const [area, line] = at("plot").children;
  line.setAttribute("points", points.join(" "));
  area.setAttribute("points", `${(61 - rates.length) * 4},80 ${points.join(" ")} 240,80`);
}

function uptime(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes === 0) return `${seconds} s`;
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function watch() {
  const figures = new EventSource("/api/numbers");
  figures.addEventListener("numbers", (event) => {
    const numbers = JSON.parse(event.data);
    at("people").textContent = numbers.people.toLocaleString();
    at("count").textContent = numbers.messages.toLocaleString();
    at("sent").textContent = numbers.sent.toLocaleString();
    at("uptime").textContent = uptime(numbers.uptime);
    at("rate").textContent = numbers.rate.toFixed(1);
    plot(numbers.rate);
  });
  // It comes back by itself, unless it was refused.
  figures.onerror = () => {
    if (figures.readyState === EventSource.CLOSED) setTimeout(watch, PATIENCE);
  };
}

begin();
watch();
