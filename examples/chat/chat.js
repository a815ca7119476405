// The page of the chat: a WebSocket for what is said, an event stream for the numbers beside it.

const at = (id) => document.getElementById(id);
let own = null;
let socket = null;
let wait = 500;

function show({ from, text, at: seconds }) {
  const list = at("messages");
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  item.append(time);
  if (from === null) {
    item.className = "note";
  } else {
    const who = document.createElement("b");
    who.textContent = from;
    item.append(who);
    item.classList.toggle("own", from === own);
  }
  item.append(text);
  list.append(item);
  while (list.children.length > 200) list.firstChild.remove();
  if (follows) list.scrollTop = list.scrollHeight;
}

function state(text, up) {
  at("state").textContent = text;
  at("state").classList.toggle("up", up);
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/api/chat`);
  socket.onopen = () => {
    wait = 500;
    state(`connected as ${own}`, true);
    at("text").focus();
  };
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = () => {
    state("connection lost, trying again", false);
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, 10_000);
  };
}

async function join() {
  at("name-form").hidden = true;
  at("say-form").hidden = false;
  const past = await fetch("/api/messages");
  for (const message of await past.json()) show(message);
  connect();
}

at("name-form").onsubmit = async (event) => {
  event.preventDefault();
  const answer = await fetch("/api/me", {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: at("name").value }),
  });
  const said = await answer.json();
  if (!answer.ok) return state(said.detail, false);
  own = said.name;
  join();
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
  const point = (rate, n) => `${n * 4},${78 - (rate / most) * 74}`;
  at("plot").firstElementChild.setAttribute("points", rates.map(point).join(" "));
}

new EventSource("/api/numbers").addEventListener("numbers", (event) => {
  const { people, messages, sent, rate, uptime } = JSON.parse(event.data);
  at("people").textContent = people;
  at("count").textContent = messages;
  at("sent").textContent = sent;
  at("uptime").textContent = `${Math.floor(uptime / 60)} min ${uptime % 60} s`;
  plot(rate);
});

fetch("/api/me").then(async (answer) => {
  if (answer.ok) {
    own = (await answer.json()).name;
    join();
  } else {
    state("not joined", false);
  }
});
