// The datasets that runs load, prepare or train, from the events of these runs alone.

import { originsOf } from "./outcome.js";
import { startOf } from "./runs.js";

const LOAD_KINDS = new Set(["plan", "load", "publish", "prepare"]);
const MODEL = "_model"; // the end of the name of a dataset of models
const STATES = ["failed", "lost", "late", "stalled", "retrying", "running", "queued", "cancelled", "succeeded", "skipped"];
const ROW_ORDERS = new Map([
  ["name", () => 0],
  ["state", (dataset) => STATES.indexOf(dataset.isLate && dataset.state !== "failed" && dataset.state !== "lost" ? "late" : dataset.state)],
  ["rows", (dataset) => -(dataset.rows ?? -1)],
  ["rejected", (dataset) => -(dataset.rejected ?? -1)],
  ["age", (dataset) => dataset.made ?? -Infinity],
  ["run", (dataset) => -dataset.started],
]);

const loads = new WeakMap(); // a view of a run is replaced when an event of the run arrives

// What a run reports of a dataset; null for a run that neither makes a version of one nor checks its age.
function loadOf(view) {
  if (!loads.has(view)) loads.set(view, read(view));
  return loads.get(view);
}

function read({ tasks }) {
  const named = tasks.filter(({ data }) => data.dataset);
  const load = named.find(({ data }) => LOAD_KINDS.has(data.kind)) ?? named.find(makesModel);
  const check = named.find(({ data }) => data.kind === "check" && typeof data.result?.late === "boolean");
  if (!load && !check) return null;
  const results = load ? named.filter((task) => isMade(task) && isOutcome(task.data.result)).reverse() : [];
  const rejected = named.map(({ data }) => data.result?.rejected).filter(Number.isFinite);
  return {
    dataset: (load && isModel(load.data) && load.data.result.dataset) || (load ?? check).data.dataset,
    isCheck: !load,
    isLate: check?.data.result.late ?? false,
    started: Math.min(...named.map(startOf)),
    sent: (results[0] ?? check)?.sent ?? null,
    result: results[0]?.data.result ?? null,
    rejected: results[0]?.data.result.skipped ? null : rejected.at(-1) ?? null, // a skipped run has read no row
  };
}

const isModel = ({ result }) => result?.kind === "model";
// A task that trains reports the dataset of its model at its end at the latest; others only read a dataset.
const makesModel = ({ data }) => data.kind === "train" && (isModel(data) || data.dataset.endsWith(MODEL));
// A training is skipped if its model exists already; the result then names that model.
const isMade = ({ data, state }) => state === "succeeded" || (state === "skipped" && isModel(data));
const isOutcome = (result) => typeof result?.version === "string" && (Number.isFinite(result.rows) || result.kind === "model");
const numberOf = (version) => Number.parseInt(version, 10) || 0;

// The datasets with their last run, and the newest version that a run reported. `made` is the time of the first report
// of this version; `isOlder` is true if the version is older than that.
export function datasetsOf(runStates) {
  const reports = new Map();
  for (const run of runStates.runs.values()) {
    const view = runStates.view(run);
    const load = loadOf(view);
    if (!load) continue;
    if (!reports.has(load.dataset)) reports.set(load.dataset, []);
    reports.get(load.dataset).push({ ...load, run, view });
  }
  const datasets = [...reports].map(([name, runs]) => datasetOf(name, runs.sort((a, b) => b.started - a.started || b.run.order - a.run.order)));
  return withMadeInto(datasets.filter((dataset) => dataset.run));
}

// Adds to each dataset the newest versions of the others that were made from it.
function withMadeInto(datasets) {
  const made = new Map();
  for (const { name, version, madeFrom } of datasets) {
    for (const input of new Set(madeFrom.map(datasetIn))) {
      if (!made.has(input)) made.set(input, []);
      made.get(input).push(`${name}@${version}`);
    }
  }
  return datasets.map((dataset) => ({ ...dataset, madeInto: (made.get(dataset.name) ?? []).sort() }));
}

// The dataset of a version: flights of flights@12-3fa9c1.
export const datasetIn = (reference) => reference.split("@", 1)[0];

// `runs` are the newest first.
function datasetOf(name, runs) {
  const ofLoads = runs.filter((run) => !run.isCheck);
  const [last] = ofLoads;
  const outcomes = ofLoads.filter(({ result }) => result);
  const number = outcomes.reduce((most, { result }) => Math.max(most, numberOf(result.version)), 0);
  const ofVersion = outcomes.filter(({ result }) => numberOf(result.version) === number);
  const first = ofVersion.findLast(({ result }) => !result.skipped) ?? ofVersion.at(-1);
  const check = runs.find(({ isCheck }) => isCheck);
  const isUnchanged = Boolean(last?.result?.skipped) && ["succeeded", "skipped"].includes(last.view.state);
  const result = ofVersion[0]?.result;
  return {
    name,
    run: last?.run,
    view: last?.view,
    started: last?.started,
    state: isUnchanged ? "skipped" : last?.view.state,
    note: isUnchanged ? String(last.result.skipped) : "",
    version: result?.version ?? null,
    rows: !result || ["bytes", "model"].includes(result.kind) ? null : result.total_rows ?? result.rows,
    rejected: ofLoads.find(({ rejected }) => rejected !== null)?.rejected ?? null,
    madeFrom: result ? originsOf(result) : [],
    made: first?.sent ?? null,
    isOlder: Boolean(first?.result.skipped),
    isLate: Boolean(check?.isLate) && !(first && !first.result.skipped && first.sent > check.sent),
  };
}

// The datasets whose names contain `text`, by one of the orders `name`, `state`, `rows`, `rejected`, `age` and `run`.
export function arranged(datasets, { text, order, isReversed }) {
  const rank = ROW_ORDERS.get(order);
  const lowered = text.trim().toLowerCase();
  const compare = (a, b) => difference(rank(a), rank(b)) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  const sorted = datasets.filter(({ name }) => name.toLowerCase().includes(lowered)).sort(compare);
  return isReversed ? sorted.reverse() : sorted;
}

const difference = (a, b) => (a === b ? 0 : a < b ? -1 : 1);
