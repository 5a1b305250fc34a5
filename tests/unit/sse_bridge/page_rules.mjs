// Reads cases from standard input and prints the result of the page's modules for each; run by test_page_rules.py.
import { readFileSync } from "node:fs";
import { RunStates } from "./run_states.js";
import { factsOf, furtherColumns } from "./outcome.js";
import { amount, counted, duration, significant } from "./formatting.js";
import { meanSeries, trainingFacts, trainingNotes, trainingPosition } from "./training.js";

function outcome({ events, liveness }) {
  const runStates = new RunStates();
  const results = events.map((event) => runStates.apply(event));
  runStates.applyLiveness({ tasks: liveness });
  const [run] = runStates.newestRuns();
  const { state, ended, headline, total, result, tasks } = runStates.view(run);
  const rows = tasks.map((task) => [task.task_id, task.map_index, task.attempt, task.state, task.error?.message ?? null]);
  return { results, tasks: rows, run: { state, ended, headline, total, result } };
}

// The runs and sources that are kept of many events with a limit of `sourcesMax` sources.
function kept({ events, sourcesMax }) {
  const runStates = new RunStates(sourcesMax);
  for (const event of events) runStates.apply(event);
  return { runs: runStates.newestRuns().map((run) => run.run_id), sources: runStates.sources.size };
}

const { cases, amounts, durations, counts, many, outcomes, numbers, trainings, series } = JSON.parse(readFileSync(0, "utf-8"));
console.log(JSON.stringify({
  cases: cases.map(outcome),
  amounts: amounts.map(([value, unit]) => amount(value, unit)),
  durations: durations.map(duration),
  outcomes: outcomes.map((result) => [factsOf(result), furtherColumns(result)]),
  kept: kept(many),
  numbers: numbers.map(significant),
  trainings: trainings.map((tasks) => ({
    facts: trainingFacts(tasks),
    notes: tasks.map((task) => trainingNotes(task.data.metrics ?? {})),
    position: trainingPosition(tasks),
  })),
  means: series.map(meanSeries),
  counts: counts.map(([done, total, unit]) => counted({ done, total, unit })),
}));
