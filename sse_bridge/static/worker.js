// The one stream of a browser: keeps the newest event of each source, and sends every event to all tabs.

import { Feed } from "./feed.js";
import { RunStates } from "./run_states.js";

const GONE_MS = 300_000; // timers of hidden tabs run once a minute

const ports = new Map();
const picture = new RunStates();
let connection = null;
let liveness = null;
let skew = 0; // the bridge's clock minus the browser's

function tell(port, name, body) {
  port.postMessage({ name, body });
}

function told(name, body) {
  if (name === "open" || name === "lost") {
    connection = name;
  } else if (name === "progress") {
    picture.apply(body);
  } else {
    liveness = body.liveness ?? body;
    skew = Date.parse(body.time) - Date.now();
    if (name === "liveness") picture.hear(body);
    else picture.replace(body);
  }
  for (const port of ports.keys()) tell(port, name, body);
}

function join(port) {
  const time = new Date(Date.now() + skew).toISOString();
  const tasks = [...picture.silences.values()];
  if (liveness) tell(port, "snapshot", { time, liveness: { ...liveness, tasks }, events: picture.events() });
  if (connection) tell(port, connection);
}

addEventListener("connect", ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data === "bye") {
      ports.delete(port);
    } else {
      const known = ports.has(port);
      ports.set(port, Date.now());
      if (!known) join(port);
    }
  };
});

setInterval(() => {
  for (const [port, heard] of ports) {
    if (Date.now() - heard > GONE_MS) ports.delete(port);
  }
}, GONE_MS / 5);

new Feed({}, told);
