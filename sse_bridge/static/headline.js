// One line with the work of a run and its progress: the same rules as pipeline/millrace/progress/headline.py.

import { amount, clean, counted } from "./formatting.js";
import { metricLines } from "./model_metrics.js";
import { trainingPosition } from "./training.js";

const MESSAGE_MAX = 200;
const SPLITS_MAX = 4;
const METRICS_SHOWN = 2;
const BY_DAG = new Map([
  ["ingest", "load"], ["maintain", "maintenance"], ["prepare", "prepare"], ["train", "train"], ["warm", "warm"],
]);
const BY_KIND = new Map([["repair", "repair"], ["maintain", "maintenance"], ["plan", "load"], ["publish", "load"]]);
const STEPS = new Map([
  ["plan", "planning"], ["verify", "verifying"], ["publish", "publishing"], ["warm", "warming the cache"],
]);
// Work whose last message reports the outcome.
const OUTCOME_IN_MESSAGE = new Set(["warm", "maintenance", "repair", "verify", "train"]);

// `tasks` are in order; `total` is the progress of the main work, or null.
export function headlineOf(dag, tasks, state, result, total) {
  const work = workOf(dag, tasks);
  const text = endOf(work, tasks) || (state === "queued" ? "queued"
    : state === "succeeded" || state === "skipped" ? outcome(work, tasks, result, total)
      : course(work, tasks, total));
  return clean(`${work}: ${text}`);
}

// The name of the work: by the DAG if it is one of Millrace's, by the kinds that the tasks report, else by their ids.
function workOf(dag, tasks) {
  const [prefix] = dag.split("_", 1);
  if (BY_DAG.has(prefix)) return BY_DAG.get(prefix);
  const kinds = new Set(tasks.map((task) => task.data.kind).filter(Boolean).map((kind) => BY_KIND.get(kind) ?? kind));
  if (kinds.has("load")) return "load";
  if (kinds.size === 1) return [...kinds][0];
  if (kinds.has("repair") || kinds.has("maintenance")) return "maintenance";
  const names = new Set(tasks.map((task) => task.task_id));
  return names.size === 1 ? [...names][0] : dag;
}

// The first task that failed, is lost or was cancelled, with the reason; empty if there is none.
function endOf(work, tasks) {
  for (const [state, verb] of [["failed", "failed"], ["lost", "is lost"], ["cancelled", "cancelled"]]) {
    const task = tasks.find((each) => each.state === state);
    if (!task) continue;
    const name = nameOf(task) === work ? "" : `${nameOf(task)} `;
    const reason = task.error ? firstLine(task.error.message) : "";
    return `${name}${verb}${reason ? `, ${reason}` : ""}`;
  }
  return "";
}

export const nameOf = (task) => (task.map_index >= 0 ? `${task.task_id} [${task.map_index}]` : task.task_id);

function firstLine(text) {
  const line = text.trim().split("\n", 1)[0].trimEnd();
  if (line.length <= MESSAGE_MAX) return line;
  const characters = [...line.slice(0, 2 * MESSAGE_MAX + 2)];
  return characters.length <= MESSAGE_MAX ? line : `${characters.slice(0, MESSAGE_MAX - 1).join("")}\u2026`;
}

// The outcome of a run that succeeded or was skipped.
function outcome(work, tasks, result, total) {
  if (work === "load" && result) return loaded(result);
  if (work === "prepare" && result?.split_rows) return prepared(result);
  if (work === "train" && result?.kind === "model") return trained(result);
  if (work === "load") return total?.done ? `${counted({ ...total, total: null })} loaded` : "nothing to load";
  const messages = tasks.map((task) => task.data.message).filter(Boolean).map(firstLine);
  if (work === "prepare" && messages.length && !total?.done) return messages[0]; // the plan's: why nothing was made
  if (messages.length && (OUTCOME_IN_MESSAGE.has(work) || !total?.done)) return [...new Set(messages)].join("; ");
  return total?.done ? counted(total) : total ? "done" : tasks[tasks.length - 1].state;
}

function loaded(result) {
  const append = ["append", "incremental"].includes(result.mode);
  if (result.kind === "bytes") return `${amount(result.raw_bytes ?? 0, "bytes")} ${append ? "added" : "loaded"}`;
  const { rows, total_rows: totalRows = rows } = result;
  if (append || totalRows !== rows) return `${amount(rows)} rows added, ${amount(totalRows)} in the version`;
  return `${amount(rows)} rows loaded`;
}

// A version of training data: its rows, and those of each split unless there are many.
function prepared(result) {
  if (result.skipped) return `${result.dataset ?? ""}@${result.version} is ${result.skipped}`;
  const rows = `${amount(result.total_rows ?? result.rows)} rows`;
  const splits = Object.entries(result.split_rows).map(([name, count]) => `${name} ${amount(count)}`);
  return splits.length && splits.length <= SPLITS_MAX ? `${rows}: ${splits.join(", ")}` : rows;
}

// A model: its version and its first metrics, those with a baseline first.
function trained({ dataset = "", version, metrics = {} }) {
  const lines = metricLines(metrics).sort((a, b) => b.hasBaseline - a.hasBaseline).slice(0, METRICS_SHOWN);
  return [`${dataset}@${version}`, ...lines.map(({ name, text }) => `${name} ${text}`)].join(", ");
}

// The progress of a run that has begun and is not over.
function course(work, tasks, total) {
  const active = tasks.filter((task) => ["running", "stalled", "retrying"].includes(task.state));
  const names = new Set(active.map((task) => task.task_id));
  if (!names.size) {
    if (total?.total && total.done < total.total) return counted(total);
    return `waiting for ${tasks.find((task) => task.state === "queued").task_id}`;
  }
  const [first] = active;
  const kind = first.data.kind ?? "";
  if (total && ((work === "load" && kind === "load") || names.size > 1)) return counted(total);
  const progress = stepProgress(active.filter((task) => task.task_id === first.task_id));
  const step = work === "load" ? STEPS.get(kind) ?? first.task_id : first.task_id;
  const only = new Set(tasks.map((task) => task.task_id)).size === 1;
  if (step === first.task_id && (only || step === work)) return progress || first.state;
  return progress ? `${step}, ${progress}` : step;
}

// The progress of all instances of one step together; else the message or phase of the first.
function stepProgress(tasks) {
  const reports = tasks.map((task) => task.data).filter((data) => data.done !== undefined);
  if (!reports.length) return "";
  const [{ kind, unit, message, phase }] = reports;
  const same = reports.filter((data) => data.unit === unit);
  const done = same.reduce((a, data) => a + data.done, 0);
  const total = same.some((data) => data.total === null) ? null : same.reduce((a, data) => a + data.total, 0);
  if (!done && !total) return firstLine(message || phase);
  const where = kind === "prepare" ? phase : trainingPosition(tasks); // the count does not move while a query runs
  return [firstLine(where), counted({ done, total, unit })].filter(Boolean).join(", ");
}
