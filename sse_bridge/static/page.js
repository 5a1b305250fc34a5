// The live page. Events update the run states, which are painted at most once a frame and four times a second.

import { arrange, make, setClass, setText } from "./dom.js";
import { connect } from "./feed.js";
import { makeHistory, paintHistory } from "./history.js";
import { RunStates } from "./run_states.js";
import { makeCard, paintCard } from "./run_card.js";
import { announce } from "./announcements.js";
import { addTools } from "./tools.js";
import { amount, duration } from "./formatting.js";

const PAINT_MS = 250;
const RUNS_SHOWN = 50;
const RECENT_MS = 900_000; // a run that is over keeps its card for this long; then it is one line of the history

const main = document.getElementById("runs");
const banner = document.getElementById("connection");
const title = document.title;
const selection = Object.fromEntries(
  ["dagId", "runId", "taskId", "mapIndex"]
    .filter((name) => document.body.dataset[name] !== undefined)
    .map((name) => [name.replace(/[A-Z]/, (letter) => "_" + letter.toLowerCase()), document.body.dataset[name]]),
);

const isSelected = ({ data }) =>
  Object.entries(selection).every(([name, value]) => String(data[name]) === value);

const runStates = new RunStates();
const cards = new Map();
const history = makeHistory();
const more = make("p", "nothing");
let connection = "connecting";
let since = Date.now();
let updatedAt = null;
let disconnectReason = "";
let paused = false;
let skew = 0; // the bridge's clock minus the browser's
const now = () => Date.now() + skew;

// -- painting

function isOver(run) {
  const { ended, tasks } = runStates.view(run);
  return ended === tasks.length;
}

// Runs that go on get a card first, then those that ended recently, the newest first. Others that are over get a line.
function choose() {
  const runs = runStates.newestRuns();
  const recent = selection.run_id !== undefined ? runs : runs.filter((run) => !isOver(run) || now() - run.updated <= RECENT_MS);
  const active = recent.filter((run) => !isOver(run));
  const chosen = new Set([...active, ...recent.filter(isOver)].slice(0, RUNS_SHOWN));
  const open = runs.filter((run) => chosen.has(run));
  const over = runs.filter((run) => !chosen.has(run) && isOver(run)).slice(0, RUNS_SHOWN);
  return { open, over, hidden: runs.length - open.length - over.length };
}

function cardOf(run) {
  if (!cards.has(run.key)) cards.set(run.key, makeCard(run));
  return cards.get(run.key);
}

function emptyNote() {
  const subject = "task_id" in selection ? "task" : "run";
  return make("p", "nothing", selection.dag_id ? `No progress was reported for this ${subject}.` : "No progress was reported yet.");
}

function paint() {
  const { open, over, hidden } = choose();
  const keys = new Set(open.map((run) => run.key));
  for (const key of cards.keys()) if (!keys.has(key)) cards.delete(key);
  const sections = open.map((run) => {
    paintCard(cardOf(run), run, runStates.view(run), selection.run_id !== undefined, now());
    return cardOf(run).section;
  });
  if (over.length) {
    paintHistory(history, over, runStates, now());
    sections.push(history.section);
  }
  if (hidden) {
    setText(more, `${amount(hidden)} further runs are not shown`);
    sections.push(more);
  }
  if (sections.length) arrange(main, sections);
  else if (updatedAt && !(main.children.length === 1 && main.querySelector(".nothing"))) main.replaceChildren(emptyNote());
  paintBanner();
  paintTitle(open);
  if (updatedAt) announce(open, runStates);
}

function paintTitle(runs) {
  const tasks = runs.flatMap((run) => runStates.view(run).tasks);
  const countOf = (state) => tasks.filter((task) => task.state === state).length;
  const counts = ["failed", "running"].filter(countOf).map((state) => `${countOf(state)} ${state}`);
  const text = [...counts, title].join(" · ");
  if (document.title !== text) document.title = text;
}

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

// -- events

let scheduled = false;
let paintedAt = 0;
let painted = false;

function schedulePaint() {
  if (scheduled || paused) return;
  scheduled = true;
  setTimeout(() => requestAnimationFrame(() => {
    scheduled = false;
    if (paused) return;
    paintedAt = Date.now();
    paint();
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
      if (!painted) main.replaceChildren(); // the server's content for browsers without JavaScript
      painted = true;
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

addTools((now) => {
  paused = now;
  paintBanner();
  schedulePaint();
});
connect(selection, onEvent);
setInterval(schedulePaint, 1_000);
