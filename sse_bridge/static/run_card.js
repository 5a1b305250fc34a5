// One run: its work, its progress, and its tasks in the order of the DAG.

import { runLinks } from "./airflow.js";
import { makeCurves, paintCurves } from "./curves.js";
import { arrange, headRow, make, path, setBar, setClass, setState, setText } from "./dom.js";
import { paintLines, paintOutcome } from "./outcome.js";
import { isOver } from "./runs.js";
import { makeRow, paintRow } from "./task_row.js";
import { meanSeries, ranksOf, trainingFacts } from "./training.js";
import { about, amount, clock, duration } from "./formatting.js";

const TASKS_SHOWN = 50; // among other runs; the run's own page shows up to TASKS_MAX
const TASKS_MAX = 2_000;
const URGENT = new Set(["failed", "lost", "stalled", "retrying", "running"]);

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
  card.further = make("a");
  card.further.href = link.href;
  card.rest = make("p", "nothing", card.further);
  card.outcome = { element: make("div", "result"), result: null };
  card.training = { facts: make("div", "result"), curves: makeCurves(), drawn: [] };
  const heading = make("h2", "", link, card.state, card.sum, ...runLinks(run));
  const { facts, curves } = card.training;
  card.section = make("section", "run", heading, card.total, card.outcome.element, facts, curves.element, table, card.rest);
  return card;
}

// `alone` is true if the page shows this run alone; then it also shows the outcome and more tasks.
export function paintCard(card, run, view, alone, now) {
  const shown = chosen(view.tasks, alone ? TASKS_MAX : TASKS_SHOWN);
  const keys = new Set(shown.map((task) => task.key));
  for (const key of card.rows.keys()) if (!keys.has(key)) card.rows.delete(key);
  const elements = [];
  const together = paintTraining(card.training, view.tasks, alone);
  for (const each of shown) {
    const task = together.has(each) ? { ...each, series: undefined } : each;
    if (!card.rows.has(task.key)) card.rows.set(task.key, makeRow(task));
    const row = card.rows.get(task.key);
    paintRow(row, task, now);
    elements.push(row.tr);
    if (task.series) elements.push(row.more);
  }
  arrange(card.body, elements);
  card.rest.hidden = shown.length === view.tasks.length;
  setText(card.further, `${amount(view.tasks.length - shown.length)} further tasks`);
  setState(card.state, view.state);
  setClass(card.section, `run ${view.state}`);
  const times = [];
  if (Number.isFinite(run.started)) {
    const until = view.ended === view.tasks.length ? run.updated : now;
    times.push(`started ${clock(run.started, now)}`, duration((until - run.started) / 1000));
  }
  setText(card.sum, [`${amount(view.ended)} of ${amount(view.tasks.length)} tasks ended`, ...times].join(", "));
  paintTotal(card, view);
  paintOutcome(card.outcome, alone ? view.result : null);
}

// The training of all ranks together. Returns the tasks whose curves are drawn as one, none if only one has curves.
function paintTraining(training, tasks, alone) {
  const ranks = ranksOf(tasks);
  paintLines(training.facts, ranks.length > 1 ? "All ranks" : "Training", alone ? trainingFacts(tasks) : []);
  const drawn = ranks.filter((task) => task.series);
  const together = new Set(drawn.length > 1 ? drawn : []);
  training.curves.element.hidden = !together.size;
  if (together.size) paintCurves(training.curves, seriesOf(training, drawn));
  return together;
}

// The mean curves, computed again only after a rank has sent new ones.
function seriesOf(training, ranks) {
  if (ranks.length !== training.drawn.length || ranks.some((task, index) => task.series !== training.drawn[index])) {
    training.drawn = ranks.map((task) => task.series);
    training.series = meanSeries(training.drawn);
  }
  return training.series;
}

// Up to `count` tasks in their order; those that run or need attention take precedence.
function chosen(tasks, count) {
  if (tasks.length <= count) return tasks;
  const [urgent, others] = [[], []];
  for (const task of tasks) (URGENT.has(task.state) ? urgent : others).push(task);
  const shown = new Set([...urgent, ...others].slice(0, count));
  return tasks.filter((task) => shown.has(task));
}

function paintTotal(card, { state, total, headline }) {
  const isActive = !isOver(state);
  const rate = isActive && total?.rate ? `${amount(total.rate, total.unit)}/s` : "";
  const left = isActive && total && total.left_s !== null ? `${about(total.left_s)} left` : "";
  const text = [headline, rate, left].filter(Boolean).join(", ");
  const value = total?.fraction ?? null;
  setBar(card.bar, value, value !== null || (state === "running" && total !== null), text);
  setText(card.count, text);
}
