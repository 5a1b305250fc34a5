// The displayed state of a run: its state, its total, its headline, and its tasks in the DAG's order.
// The same rules as pipeline/millrace/progress/runs.py; tests/data/progress_cases.json holds cases for both.

import { headlineOf } from "./headline.js";

export const TERMINAL = new Set(["succeeded", "failed", "cancelled", "skipped"]);
const ENDS = ["failed", "lost", "cancelled", "succeeded", "skipped"];
const WRITING = new Set(["load", "prepare"]);
const AFTER_WRITING = new Set(["verify", "publish", "warm"]);
const LEFT_AFTER_S = 5; // a younger rate does not predict the time left
const LEFT_MAX_S = 1e9; // longer times are not shown; a rate near zero gives unbounded times

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const most = (numbers, least) => numbers.reduce((a, b) => Math.max(a, b), least);
const difference = (a, b) => (a === b ? 0 : a - b);

// Whether a task in this state has ended, or is lost.
export const isOver = (state) => TERMINAL.has(state) || state === "lost";

export function stateOfRun(run, tasks) {
  const ordered = inOrder(tasks);
  const state = runState(ordered.map((task) => task.state));
  const total = totalOf(ordered, state);
  const result = resultOf(ordered);
  return {
    dag_id: run.dag_id,
    run_id: run.run_id,
    state,
    tasks: ordered,
    ended: ordered.filter((task) => isOver(task.state)).length,
    total,
    result,
    headline: headlineOf(run.dag_id, ordered, state, result, total),
  };
}

// A run is running from the start of its first task to the end of its last one. It then has its worst task's state.
function runState(states) {
  if (states.length && states.every(isOver)) return ENDS.find((end) => states.includes(end));
  for (const problem of ["lost", "stalled"]) if (states.includes(problem)) return problem;
  return states.some((state) => state !== "queued") ? "running" : "queued";
}

export const startOf = (task) => (task.sent === null ? Infinity : task.sent - (task.data.elapsed_s ?? 0) * 1000);

// Sorts by the step in the DAG; without it by the start of the first instance, then by the first event.
function inOrder(tasks) {
  const ranks = new Map();
  tasks.forEach((task, number) => {
    const rank = ranks.get(task.task_id) ?? { step: Infinity, start: Infinity, first: number };
    rank.step = Math.min(rank.step, task.step ?? Infinity);
    rank.start = Math.min(rank.start, startOf(task));
    ranks.set(task.task_id, rank);
  });
  return tasks.sort((one, other) => {
    const [a, b] = [ranks.get(one.task_id), ranks.get(other.task_id)];
    return difference(a.step, b.step) || difference(a.start, b.start) || a.first - b.first ||
      one.map_index - other.map_index;
  });
}

// The outcome of the run that the last succeeded step reported: a version or a model.
function resultOf(tasks) {
  const results = tasks.filter((task) => task.state === "succeeded" && task.data.result).map((task) => task.data.result);
  return results.reverse().find((result) => "version" in result && ("rows" in result || result.kind === "model")) ?? null;
}

// The progress of the run's main work, and its total in the whole run. With a plan the main work is loading, and the
// plan gives the total from the start. Without one it is the kind of work that took the most time.
function totalOf(tasks, state) {
  let groups = new Map();
  let planned = null;
  for (const task of tasks) {
    const { kind, unit, done, result } = task.data;
    if (kind === "plan") planned = result?.load ?? planned;
    if (done === undefined || kind === "plan") continue;
    const key = JSON.stringify([kind, unit]);
    if (!groups.has(key)) groups.set(key, { kind, unit, tasks: [] });
    groups.get(key).tasks.push(task);
  }
  let chosen;
  let total;
  if (planned) {
    chosen = groups.get(JSON.stringify(["load", planned.unit])) ?? { kind: "load", unit: planned.unit, tasks: [] };
    total = planned.total;
  } else {
    groups = [...groups.values()];
    if (groups.some(({ kind }) => WRITING.has(kind))) groups = groups.filter(({ kind }) => !AFTER_WRITING.has(kind));
    if (!groups.length) return null;
    const took = (group) => sum(group.tasks.map((task) => task.data.elapsed_s));
    chosen = groups.reduce((a, b) => (took(b) > took(a) ? b : a));
    const totals = chosen.tasks.map((task) => task.data.total);
    total = totals.includes(null) ? null : sum(totals);
  }
  const done = sum(chosen.tasks.map((task) => task.data.done));
  const fraction = state === "succeeded" ? 1 : total ? Math.min(done / total, 1) : null;
  const rate = rateOf(chosen.tasks, done, isOver(state));
  const left_s = leftAfter(elapsedOf(chosen.tasks), done, total, rate);
  return { kind: chosen.kind, unit: chosen.unit, done, total, fraction, rate, left_s };
}

// Units a second: of the tasks that run now, or on average once the run is over.
function rateOf(tasks, done, over) {
  if (!over) return sum(tasks.filter((task) => task.state === "running").map((task) => task.data.rate ?? 0)) || null;
  const timed = tasks.filter((task) => task.sent !== null);
  if (!timed.length) return null;
  const ended = most(timed.map((task) => task.sent), 0);
  const span = (ended + most(timed.map((task) => -startOf(task)), -Infinity)) / 1000;
  return span >= 0.2 ? done / span : null;
}

// The seconds left, of work or of a task; null while unknown.
export function leftAfter(elapsed, done, total, rate) {
  if (!total || !rate || elapsed < LEFT_AFTER_S) return null;
  const left = Math.max(total - done, 0) / rate;
  return left < LEFT_MAX_S ? left : null;
}

const elapsedOf = (tasks) => most(tasks.filter((task) => task.state === "running").map((task) => task.data.elapsed_s), 0);
