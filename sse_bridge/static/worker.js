// The one stream of a browser: keeps the newest event of each source, and tells every tab what it hears.

import { Feed } from "./feed.js";

const SOURCES_KEPT = 5_000;
const GONE_MS = 300_000; // timers of hidden tabs run once a minute

const ports = new Map();
const newest = new Map();
let connection = null;
let liveness = null;
let begun = null; // the time and cursor of the snapshot that the newest events grew from

function tell(port, name, body) {
  port.postMessage({ name, body });
}

function told(name, body) {
  if (name === "open" || name === "lost") {
    connection = name;
  } else if (name === "liveness") {
    liveness = body;
  } else if (name === "progress") {
    newest.delete(body.source);
    newest.set(body.source, body);
    if (newest.size > SOURCES_KEPT) newest.delete(newest.keys().next().value);
  } else {
    begun = { time: body.time };
    liveness = { time: body.time, ...body.liveness };
    newest.clear();
    for (const event of body.events) newest.set(event.source, event);
  }
  for (const port of ports.keys()) tell(port, name, body);
}

function join(port) {
  if (begun) tell(port, "snapshot", { ...begun, time: liveness.time, liveness, events: [...newest.values()] });
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
