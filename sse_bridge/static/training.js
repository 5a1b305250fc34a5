// The training that ranks report in their metrics: each rank alone, and all ranks of a run together.
// The same rules as pipeline/millrace/progress/training.py, which describes the metrics.

import { amount, significant } from "./formatting.js";

const POSITION = new Set(["epoch", "step", "steps"]);
const WAITS = new Map([["wait_p50_ms", "wait p50"], ["wait_p99_ms", "wait p99"]]);
const TIERS = new Map([["chunks_process", "process"], ["chunks_redis", "Redis"], ["chunks_cassandra", "Cassandra"]]);
const NOT_SHOWN = new Set(["world_size", "prefetch_bytes"]);
const OWN = new Set([...POSITION, ...WAITS.keys(), ...TIERS.keys(), ...NOT_SHOWN]);

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// Label and value of each line that describes the training of a run; none if no task trains.
export function trainingFacts(tasks) {
  const ranks = ranksOf(tasks);
  if (!ranks.length) return [];
  const metrics = metricsOfAll(ranks);
  const lines = linesOf(metrics).map(([name, value]) => [labelOf(name, ranks.length > 1), value]);
  return [...rankLine(ranks, metrics.world_size ?? 0), ...rateLine(ranks), ...lines];
}

function rankLine(ranks, world) {
  if (ranks.length > 1) return [["ranks", `${amount(ranks.length)} of ${amount(Math.max(world, ranks.length))}`]];
  return world > 1 ? [["rank", `${ranks[0].map_index}, world size ${amount(world)}`]] : [];
}

function rateLine(ranks) {
  const running = ranks.filter((task) => task.state === "running");
  const rate = sum((running.length ? running : ranks).map((task) => task.data.rate ?? 0));
  const { unit } = ranks[0].data;
  return rate && unit ? [[`${unit}/s`, amount(rate)]] : [];
}

// The metrics of one rank as short texts.
export const trainingNotes = (metrics) => linesOf(metrics).map(([name, value]) => `${name} ${value}`);

// Epoch and step of the slowest rank; empty without a step.
export function trainingPosition(tasks) {
  const ranks = ranksOf(tasks);
  const { phase, metrics } = ranks.length ? slowestOf(ranks).data : { metrics: {} };
  const step = stepOf(metrics);
  return step ? [phase, `step ${step}`].filter(Boolean).join(", ") : "";
}

// The tasks that train. After a resume on fewer ranks those of the larger world before are left out.
export function ranksOf(tasks) {
  const ranks = tasks.filter(({ data }) => data.kind === "train" && Object.keys(data.metrics ?? {}).length);
  if (!ranks.length) return [];
  const newest = ranks.reduce((a, b) => ((b.sent ?? 0) > (a.sent ?? 0) ? b : a));
  const world = newest.data.metrics.world_size || Infinity;
  return ranks.filter((task) => task.map_index < world);
}

// One value for each metric that a rank reports; null for a mean with a value that is not finite.
function metricsOfAll(ranks) {
  const names = new Set(ranks.flatMap((task) => Object.keys(task.data.metrics)));
  const slowest = slowestOf(ranks).data.metrics;
  const valuesOf = (name) => ranks.map((task) => task.data.metrics[name]).filter((value) => value !== undefined);
  return Object.fromEntries([...names].map((name) => [
    name, POSITION.has(name) ? slowest[name] ?? null : combined(name, valuesOf(name)),
  ]));
}

function combined(name, values) {
  const numbers = values.filter((value) => value !== null);
  if (TIERS.has(name)) return sum(numbers);
  if (WAITS.has(name) || NOT_SHOWN.has(name)) return numbers.length ? Math.max(...numbers) : null;
  return numbers.length === values.length ? sum(numbers) / numbers.length : null;
}

// Name and value of each line that describes metrics: first the loader's own, then the others.
function linesOf(metrics) {
  const [step, tiers] = [stepOf(metrics), tiersOf(metrics)];
  const waits = [...WAITS].filter(([key]) => (metrics[key] ?? null) !== null);
  return [
    ...(step ? [["step", step]] : []),
    ...waits.map(([key, name]) => [name, `${significant(metrics[key])} ms`]),
    ...(tiers ? [["chunks from", tiers]] : []),
    ...Object.entries(metrics).filter(([name]) => !OWN.has(name)).map(([name, value]) => [name, significant(value)]),
  ];
}

function stepOf({ step = null, steps }) {
  if (step === null) return "";
  return `${amount(step)}${steps ? ` of ${amount(steps)}` : ""}`;
}

// The share of each tier in the chunks read; empty while none was read.
function tiersOf(metrics) {
  const chunks = [...TIERS].map(([key, name]) => [name, metrics[key] ?? 0]);
  const total = sum(chunks.map(([, count]) => count));
  if (!(total > 0 && total < Infinity)) return "";
  return chunks.map(([name, count]) => `${name} ${significant((100 * count) / total)} %`).join(", ");
}

function labelOf(name, several) {
  if (!several || name === "chunks from") return name;
  return `${name === "step" ? "slowest" : [...WAITS.values()].includes(name) ? "longest" : "mean"} ${name}`;
}

function slowestOf(ranks) {
  const order = ({ data: { metrics } }) => [metrics.epoch ?? 0, metrics.step ?? 0];
  return ranks.reduce((slowest, task) => {
    const [[epoch, step], [leastEpoch, leastStep]] = [order(task), order(slowest)];
    return epoch < leastEpoch || (epoch === leastEpoch && step < leastStep) ? task : slowest;
  });
}

// The curves of several ranks as one: at each step the mean of the ranks, where most of those that have the metric have
// a point. The reporters thin their curves by the same rule, so ranks in step have the same steps.
export function meanSeries(all) {
  const names = new Set(all.flatMap((series) => Object.keys(series)));
  return Object.fromEntries([...names].map((name) => {
    const curves = all.map((series) => series[name]).filter(Boolean);
    const values = new Map();
    for (const [step, value] of curves.flat()) {
      if (!values.has(step)) values.set(step, []);
      values.get(step).push(value);
    }
    const common = [...values].filter(([, each]) => each.length > curves.length / 2);
    const mean = (each) => (each.includes(null) ? null : sum(each) / each.length);
    return [name, common.sort(([a], [b]) => a - b).map(([step, each]) => [step, mean(each)])];
  }));
}
