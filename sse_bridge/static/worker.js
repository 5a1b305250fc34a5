// The one stream of a browser: keeps the newest event of each source, and sends every event to all tabs.

import { Feed } from "./feed.js";
import { RunStates } from "./run_states.js";

const TAB_TIMEOUT_MS = 300_000; // timers of hidden tabs run once a minute

const ports = new Map();
const runStates = new RunStates();
let connection = null;
let liveness = null;
let skew = 0; // the bridge's clock minus the browser's

function send(port, name, body) {
  port.postMessage({ name, body });
}

function onEvent(name, body) {
  if (name === "open" || name === "disconnected") {
    connection = name;
  } else if (name === "progress") {
    runStates.apply(body);
  } else {
    liveness = body.liveness ?? body;
    skew = Date.parse(body.time) - Date.now();
    if (name === "liveness") runStates.applyLiveness(body);
    else runStates.replace(body);
  }
  for (const port of ports.keys()) send(port, name, body);
}

function join(port) {
  const time = new Date(Date.now() + skew).toISOString();
  const tasks = [...runStates.liveness.values()];
  if (liveness) send(port, "snapshot", { time, liveness: { ...liveness, tasks }, events: runStates.events() });
  if (connection) send(port, connection);
}

addEventListener("connect", ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data === "bye") {
      ports.delete(port);
    } else {
      const isNew = !ports.has(port);
      ports.set(port, Date.now());
      if (isNew) join(port);
    }
  };
});

setInterval(() => {
  for (const [port, seenMs] of ports) {
    if (Date.now() - seenMs > TAB_TIMEOUT_MS) ports.delete(port);
  }
}, TAB_TIMEOUT_MS / 5);

new Feed({}, onEvent);
