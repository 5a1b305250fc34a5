// The connection of a page to the events: its state in the banner, the pause, and the times at which the page is painted.

import { setClass, setText } from "./dom.js";
import { connect } from "./feed.js";
import { duration } from "./formatting.js";
import { addTools } from "./tools.js";

const PAINT_MS = 250;

// Applies the selected events to `runStates` and calls `paint(now, isKnown)`, at most once a frame and four times a
// second. `now` is the time by the bridge's clock; `isKnown` is false until a message has arrived.
export function startLive({ selection, runStates, paint }) {
  const main = document.querySelector("main");
  const banner = document.getElementById("connection");
  let connection = "connecting";
  let since = Date.now();
  let updatedAt = null;
  let disconnectReason = "";
  let paused = false;
  let skew = 0; // the bridge's clock minus the browser's
  let scheduled = false;
  let paintedAt = 0;
  let isCleared = false;

  const isSelected = ({ data }) =>
    Object.entries(selection).every(([name, value]) => String(data[name]) === value);

  function paintBanner() {
    const age = updatedAt ? Math.max(0, (Date.now() - updatedAt) / 1000) : 0;
    const ageText = updatedAt ? `, data from ${age < 2 ? "just now" : `${duration(age)} ago`}` : "";
    const text = {
      connecting: "Connecting",
      open: disconnectReason ? "Kafka does not respond; showing the last known state" : `Live${ageText}`,
      disconnected: `Connection lost ${duration((Date.now() - since) / 1000)} ago; reconnecting${ageText}`,
    }[connection];
    const isBad = connection === "disconnected" || (connection === "open" && disconnectReason);
    setText(banner, paused ? "Paused; showing the last known state" : text);
    setClass(banner, paused ? "paused" : isBad ? "bad" : connection === "open" ? "good" : "");
  }

  function schedulePaint() {
    if (scheduled || paused) return;
    scheduled = true;
    setTimeout(() => requestAnimationFrame(() => {
      scheduled = false;
      if (paused) return;
      paintedAt = Date.now();
      paint(Date.now() + skew, updatedAt !== null);
      paintBanner();
    }), Math.max(0, paintedAt + PAINT_MS - Date.now()));
  }

  function onEvent(name, body) {
    if (name === "open" || name === "disconnected") {
      if (connection !== name) since = Date.now();
      connection = name;
    } else {
      updatedAt = Date.now();
      if (name === "snapshot" || name === "reset") {
        runStates.replace({ ...body, events: body.events.filter(isSelected) });
        if (!isCleared) main.replaceChildren(); // the server's content for browsers without JavaScript
        isCleared = true;
      } else if (name === "progress") {
        if (isSelected(body)) runStates.apply(body);
      } else {
        runStates.applyLiveness(body);
      }
      const liveness = body.liveness ?? (name === "liveness" ? body : null);
      if (liveness) {
        disconnectReason = liveness.kafka_connected ? "" : liveness.disconnect_reason || "no response";
        skew = Date.parse(body.time) - Date.now();
      }
    }
    schedulePaint();
  }

  addTools((isPaused) => {
    paused = isPaused;
    paintBanner();
    schedulePaint();
  });
  connect(selection, onEvent);
  setInterval(schedulePaint, 1_000);
}
