// One run: its total, and its tasks in the order in which they begin.

import { arrange, headRow, make, path, setBar, setClass, setState, setText } from "./dom.js";
import { leftOf, makeRow, paintRow } from "./task_row.js";
import { TERMINAL } from "./picture.js";
import { about, amount, clock, counted, duration } from "./words.js";

export const RANKED = ["failed", "lost", "stalled", "running", "retrying", "queued", "cancelled", "succeeded", "skipped"];

export function makeCard(run) {
  const link = make("a", "", make("span", "dag", run.dag_id), " ", make("span", "id", run.run_id));
  link.href = path(run.dag_id, run.run_id);
  const card = { state: make("span", "state"), sum: make("span", "sum"), rows: new Map() };
  card.bar = make("progress");
  card.bar.setAttribute("aria-label", `all of ${run.run_id}`);
  card.count = make("span", "count");
  card.total = make("div", "total", card.bar, card.count);
  card.body = make("tbody");
  const heads = headRow("Task", "State", "Progress", "Rate", "Elapsed", "Left");
  const table = make("table", "tasks", heads, card.body);
  card.section = make("section", "run", make("h2", "", link, card.state, card.sum), card.total, table);
  return card;
}

function inOrder(tasks) {
  const began = new Map();
  for (const { data, attempts } of tasks) {
    const starts = [...attempts.values()].map(({ reporter }) => reporter ? reporter.at - reporter.data.elapsed_s * 1000 : Infinity);
    began.set(data.task_id, Math.min(began.get(data.task_id) ?? Infinity, ...starts));
  }
  const difference = (a, b) => (a === b ? 0 : a - b);
  // Sorting is stable: those that have not begun stay in the order in which they were announced.
  return tasks.sort(({ data: a }, { data: b }) =>
    difference(began.get(a.task_id), began.get(b.task_id)) || (a.task_id === b.task_id ? a.map_index - b.map_index : 0));
}

// What a run is about is the kind of work that took the most time: its tasks are added up.
export function totalOf(tasks, now) {
  const kinds = new Map();
  for (const task of tasks) {
    const { kind, unit, done, total, elapsed_s } = task.said;
    if (done === undefined) continue;
    const key = JSON.stringify([kind, unit]);
    const sum = kinds.get(key) ?? { kind, unit, done: 0, total: 0, elapsed_s: 0, rate: 0, from: Infinity, to: 0, left: 0 };
    kinds.set(key, sum);
    sum.done += done;
    sum.total = total === null || sum.total === null ? null : sum.total + total;
    sum.elapsed_s += elapsed_s;
    sum.from = Math.min(sum.from, task.at - elapsed_s * 1000);
    sum.to = Math.max(sum.to, task.at);
    if (TERMINAL.has(task.state)) continue;
    const left = leftOf(task, now);
    sum.rate += task.state === "running" ? task.rate ?? 0 : 0;
    // The run ends when its slowest task does; one that says nothing of its end leaves the run's unknown.
    sum.left = left === null || sum.left === null ? null : Math.max(sum.left, left);
  }
  const longest = [...kinds.values()].reduce((a, b) => (a && a.elapsed_s >= b.elapsed_s ? a : b), null);
  if (!longest) return null;
  const over = tasks.every((task) => TERMINAL.has(task.state));
  const span = (longest.to - longest.from) / 1000;
  return over ? { ...longest, left: null, rate: span > 0.2 ? longest.done / span : 0 } : longest;
}

export function stateOf(tasks) {
  const states = new Set(tasks.map((task) => task.state));
  return RANKED.find((each) => states.has(each)) ?? "queued";
}

export function paintCard(card, run, picture, now) {
  const known = inOrder(picture.tasksOf(run));
  const keys = new Set(known.map((task) => task.key));
  for (const key of card.rows.keys()) if (!keys.has(key)) card.rows.delete(key);
  const tasks = [];
  const elements = [];
  for (const each of known) {
    const task = picture.task(each);
    if (!card.rows.has(each.key)) card.rows.set(each.key, makeRow(each.data));
    const row = card.rows.get(each.key);
    paintRow(row, task, now);
    tasks.push(task);
    elements.push(row.tr);
    if (task.series) elements.push(row.more);
  }
  arrange(card.body, elements);
  const state = stateOf(tasks);
  setState(card.state, state);
  setClass(card.section, `run ${state}`);
  const ended = tasks.filter((task) => TERMINAL.has(task.state)).length;
  const over = ended === tasks.length;
  const times = [];
  if (Number.isFinite(run.started)) {
    times.push(`started ${clock(run.started, now)}`, duration(((over ? run.heard : now) - run.started) / 1000));
  }
  setText(card.sum, [`${ended} of ${tasks.length} tasks ended`, ...times].join(", "));
  paintTotal(card, tasks, state, now);
}

function paintTotal(card, tasks, state, now) {
  const sum = tasks.length > 1 ? totalOf(tasks, now) : null;
  card.total.hidden = !sum;
  if (!sum) return;
  const rate = sum.rate ? `${state === "succeeded" ? "on average " : ""}${amount(sum.rate, sum.unit)}/s` : "";
  const left = sum.left ? `${about(sum.left)} left` : "";
  const says = [`${sum.kind || "all"}: ${counted(sum)}`, rate, left].filter(Boolean).join(", ");
  const value = sum.total ? Math.min(sum.done / sum.total, 1) : state === "succeeded" ? 1 : null;
  setBar(card.bar, value, value !== null || state === "running", says);
  setText(card.count, says);
}
