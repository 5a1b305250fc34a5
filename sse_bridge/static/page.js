// The page of all runs, of one run, or of one task.

import { arrange, make, setText } from "./dom.js";
import { makeHistory, paintHistory } from "./history.js";
import { startLive } from "./live.js";
import { RunStates } from "./run_states.js";
import { makeCard, paintCard } from "./run_card.js";
import { announce } from "./announcements.js";
import { amount } from "./formatting.js";

const RUNS_SHOWN = 50;
const RECENT_MS = 900_000; // a run that is over keeps its card for this long; then it is one line of the history

const main = document.getElementById("runs");
const title = document.title;
const selection = Object.fromEntries(
  ["dagId", "runId", "taskId", "mapIndex"]
    .filter((name) => document.body.dataset[name] !== undefined)
    .map((name) => [name.replace(/[A-Z]/, (letter) => "_" + letter.toLowerCase()), document.body.dataset[name]]),
);

const runStates = new RunStates();
const cards = new Map();
const history = makeHistory();
const more = make("p", "nothing");

function isOver(run) {
  const { ended, tasks } = runStates.view(run);
  return ended === tasks.length;
}

// Runs that go on get a card first, then those that ended recently, the newest first. Others that are over get a line.
function choose(now) {
  const runs = runStates.newestRuns();
  const recent = selection.run_id !== undefined ? runs : runs.filter((run) => !isOver(run) || now - run.updated <= RECENT_MS);
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

function paint(now, isKnown) {
  const { open, over, hidden } = choose(now);
  const keys = new Set(open.map((run) => run.key));
  for (const key of cards.keys()) if (!keys.has(key)) cards.delete(key);
  const sections = open.map((run) => {
    paintCard(cardOf(run), run, runStates.view(run), selection.run_id !== undefined, now);
    return cardOf(run).section;
  });
  if (over.length) {
    paintHistory(history, over, runStates, now);
    sections.push(history.section);
  }
  if (hidden) {
    setText(more, `${amount(hidden)} further runs are not shown`);
    sections.push(more);
  }
  if (sections.length) arrange(main, sections);
  else if (isKnown && !(main.children.length === 1 && main.querySelector(".nothing"))) main.replaceChildren(emptyNote());
  paintTitle(open);
  if (isKnown) announce(open, runStates);
}

function paintTitle(runs) {
  const tasks = runs.flatMap((run) => runStates.view(run).tasks);
  const countOf = (state) => tasks.filter((task) => task.state === state).length;
  const counts = ["failed", "running"].filter(countOf).map((state) => `${countOf(state)} ${state}`);
  const text = [...counts, title].join(" · ");
  if (document.title !== text) document.title = text;
}

startLive({ selection, runStates, paint });
