// The live page. Events update the run states, which are painted at most once a frame and four times a second.

import { arrange, make, setClass, setText } from "./dom.js";
import { connect } from "./feed.js";
import { makeHistory, paintHistory } from "./history.js";
import { RunStates } from "./run_states.js";
import { makeCard, paintCard } from "./run_card.js";
import { speak } from "./speech.js";
import { addTools } from "./tools.js";
import { amount, duration } from "./words.js";

const PAINT_MS = 250;
const RUNS_SHOWN = 50;
const RECENT_MS = 900_000; // a run that is over keeps its card for this long; then it is one line of the history

const main = document.getElementById("runs");
const banner = document.getElementById("connection");
const title = document.title;
const place = Object.fromEntries(
  ["dagId", "runId", "taskId", "mapIndex"]
    .filter((name) => document.body.dataset[name] !== undefined)
    .map((name) => [name.replace(/[A-Z]/, (letter) => "_" + letter.toLowerCase()), document.body.dataset[name]]),
);

const wanted = ({ data }) =>
  Object.entries(place).every(([name, value]) => String(data[name]) === value);

const picture = new RunStates();
const cards = new Map();
const history = makeHistory();
const more = make("p", "nothing");
let connection = "connecting";
let since = Date.now();
let heardAt = null;
let deaf = "";
let paused = false;
let skew = 0; // the bridge's clock minus the browser's
const now = () => Date.now() + skew;

// -- painting

function isOver(run) {
  const { ended, tasks } = picture.view(run);
  return ended === tasks.length;
}

// Runs that go on get a card first, then those that ended recently, the newest first. Others that are over get a line.
function choose() {
  const runs = picture.newestRuns();
  const recent = place.run_id !== undefined ? runs : runs.filter((run) => !isOver(run) || now() - run.heard <= RECENT_MS);
  const goOn = recent.filter((run) => !isOver(run));
  const chosen = new Set([...goOn, ...recent.filter(isOver)].slice(0, RUNS_SHOWN));
  const open = runs.filter((run) => chosen.has(run));
  const over = runs.filter((run) => !chosen.has(run) && isOver(run)).slice(0, RUNS_SHOWN);
  return { open, over, unseen: runs.length - open.length - over.length };
}

function cardOf(run) {
  if (!cards.has(run.key)) cards.set(run.key, makeCard(run));
  return cards.get(run.key);
}

function nothing() {
  const what = "task_id" in place ? "task" : "run";
  return make("p", "nothing", place.dag_id ? `Nothing was reported for this ${what}.` : "Nothing was reported yet.");
}

function paint() {
  const { open, over, unseen } = choose();
  const keys = new Set(open.map((run) => run.key));
  for (const key of cards.keys()) if (!keys.has(key)) cards.delete(key);
  const sections = open.map((run) => {
    paintCard(cardOf(run), run, picture.view(run), place.run_id !== undefined, now());
    return cardOf(run).section;
  });
  if (over.length) {
    paintHistory(history, over, picture, now());
    sections.push(history.section);
  }
  if (unseen) {
    setText(more, `${amount(unseen)} further runs are not shown`);
    sections.push(more);
  }
  if (sections.length) arrange(main, sections);
  else if (heardAt && !(main.children.length === 1 && main.querySelector(".nothing"))) main.replaceChildren(nothing());
  paintBanner();
  paintTitle(open);
  if (heardAt) speak(open, picture);
}

function paintTitle(runs) {
  const tasks = runs.flatMap((run) => picture.view(run).tasks);
  const many = (state) => tasks.filter((task) => task.state === state).length;
  const said = ["failed", "running"].filter(many).map((state) => `${many(state)} ${state}`);
  const now = [...said, title].join(" · ");
  if (document.title !== now) document.title = now;
}

function paintBanner() {
  const age = heardAt ? Math.max(0, (Date.now() - heardAt) / 1000) : 0;
  const aged = heardAt ? `, data from ${age < 2 ? "just now" : `${duration(age)} ago`}` : "";
  const says = {
    connecting: "Connecting",
    open: deaf ? "Kafka does not answer; this is what was last heard" : `Live${aged}`,
    lost: `Connection lost ${duration((Date.now() - since) / 1000)} ago; trying again${aged}`,
  }[connection];
  const ill = connection === "lost" || (connection === "open" && deaf);
  setText(banner, paused ? "Paused; this is what was shown last" : says);
  setClass(banner, paused ? "paused" : ill ? "bad" : connection === "open" ? "good" : "");
}

// -- events

let asked = false;
let paintedAt = 0;
let painted = false;

function soon() {
  if (asked || paused) return;
  asked = true;
  setTimeout(() => requestAnimationFrame(() => {
    asked = false;
    if (paused) return;
    paintedAt = Date.now();
    paint();
  }), Math.max(0, paintedAt + PAINT_MS - Date.now()));
}

function told(name, body) {
  if (name === "open" || name === "lost") {
    if (connection !== name) since = Date.now();
    connection = name;
  } else {
    heardAt = Date.now();
    if (name === "snapshot" || name === "reset") {
      picture.replace({ ...body, events: body.events.filter(wanted) });
      if (!painted) main.replaceChildren(); // the server's content for browsers without JavaScript
      painted = true;
    } else if (name === "progress") {
      if (wanted(body)) picture.apply(body);
    } else {
      picture.hear(body);
    }
    const liveness = body.liveness ?? (name === "liveness" ? body : null);
    if (liveness) {
      deaf = liveness.hearing ? "" : liveness.why || "no answer";
      skew = Date.parse(body.time) - Date.now();
    }
  }
  soon();
}

addTools((now) => {
  paused = now;
  paintBanner();
  soon();
});
connect(place, told);
setInterval(soon, 1_000);
