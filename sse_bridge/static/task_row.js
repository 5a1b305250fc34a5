// One task as a row of its run's table, with its numbers as readable text.

import { logAddress, logLink } from "./airflow.js";
import { makeCurves, paintCurves } from "./curves.js";
import { make, path, setBar, setClass, setState, setText } from "./dom.js";
import { nameOf } from "./headline.js";
import { leftAfter, TERMINAL } from "./runs.js";
import { trainingNotes } from "./training.js";
import { about, amount, counted, duration } from "./formatting.js";

const NO_PROGRESS_MS = 30_000;

export function makeRow(task) {
  const { dag_id, run_id, task_id, map_index } = task;
  const name = nameOf(task);
  const link = make("a", "", name);
  link.href = path(dag_id, run_id, task_id, ...(map_index >= 0 ? [map_index] : []));
  const row = { name, attempt: make("small"), state: make("span", "state"), phase: make("small"), bar: make("progress") };
  row.count = make("span", "count");
  row.notes = make("div", "notes");
  row.message = make("div", "message");
  row.error = make("div", "error");
  row.curves = makeCurves();
  for (const cell of ["rate", "elapsed", "left"]) row[cell] = make("td", "number");
  row.bar.setAttribute("aria-label", name);
  const head = make("th", "", link, " ", row.attempt);
  head.scope = "row";
  const progress = make("td", "progress", row.bar, row.count, row.notes, row.message, row.error);
  row.log = logLink(task);
  const state = make("td", "", row.state, " ", row.phase, ...(row.log ? [" ", row.log] : []));
  row.tr = make("tr", "", head, state, progress, row.rate, row.elapsed, row.left);
  // The curves need more room than a cell has.
  const wide = make("td", "", row.curves.element);
  wide.colSpan = 6;
  row.more = make("tr", "more", wide);
  return row;
}

// The time left, only while it is reliable: not in the first seconds, and not while there is no progress.
function leftOf(task, now) {
  const { done, total, rate, elapsed_s } = task.data;
  return task.state !== "running" || now - task.progressed > NO_PROGRESS_MS ? null : leftAfter(elapsed_s, done, total, rate);
}

const COMPARED_FIELDS = ["data", "state", "attempt", "error", "series"];
const AGING = new Set(["running", "stalled", "lost"]); // their rows change without new events

export function paintRow(row, task, now) {
  if (row.task && !task.series && !AGING.has(task.state) && COMPARED_FIELDS.every((name) => row.task[name] === task[name])) return;
  row.task = task;
  const { data } = task;
  const left = leftOf(task, now);
  // A number this large was made from a time: a user resumed the run by its id.
  setText(row.attempt, task.attempt > 1 && task.attempt < 1_000_000 ? `attempt ${task.attempt}` : "");
  setState(row.state, task.state);
  if (row.log) paintLog(row, task);
  setClass(row.tr, task.state);
  setText(row.phase, TERMINAL.has(task.state) ? "" : data.phase ?? "");
  const hasTotal = data.total > 0 && data.done !== undefined;
  const value = task.state === "succeeded" ? 1 : hasTotal ? Math.min(data.done / data.total, 1) : null;
  const label = hasTotal ? counted(data) : task.state;
  const shown = data.done !== undefined && (value !== null || task.state === "running");
  setBar(row.bar, value, shown, left === null ? label : `${label}, ${about(left)} left`);
  setText(row.count, counted(data));
  setText(row.rate, data.rate ? `${amount(data.rate, data.unit)}/s` : "");
  setText(row.elapsed, data.elapsed_s === undefined ? "" : duration(data.elapsed_s + sinceLastEvent(task, now)));
  setText(row.left, left === null ? "" : about(left));
  setText(row.notes, notesOf(task, now));
  setText(row.message, data.message ?? "");
  setText(row.error, task.error ? `${task.error.type}: ${task.error.message}` : "");
  paintCurves(row.curves, task.series);
}

function paintLog(row, task) {
  row.log.hidden = task.state === "queued";
  if (row.logOf === task.attempt) return;
  row.logOf = task.attempt;
  row.log.href = logAddress(task);
}

// The seconds since the last event of a task that goes on, at most an hour.
function sinceLastEvent(task, now) {
  const isActive = task.state === "running" || task.state === "stalled";
  return isActive && task.received ? Math.min(Math.max((now - task.received) / 1000, 0), 3600) : 0;
}

function notesOf(task, now) {
  const notes = [];
  const { retries, under_replicated } = task.data.counters ?? {};
  if (retries) notes.push(`${amount(retries)} retries`);
  if (under_replicated) notes.push(`${amount(under_replicated)} chunks with one replica`);
  notes.push(...trainingNotes(task.data.metrics ?? {}));
  const idleMs = task.state === "running" && task.progressed ? now - task.progressed : 0;
  if (idleMs > NO_PROGRESS_MS) notes.push(`no progress for ${duration(idleMs / 1000)}`);
  if ((task.state === "stalled" || task.state === "lost") && task.received) {
    notes.push(`no report for ${duration((now - task.received) / 1000)}`);
  }
  return notes.join(", ");
}
