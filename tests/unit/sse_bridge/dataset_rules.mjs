// Reads events from standard input and prints the datasets that the page shows; run by test_dataset_rules.py.
import { readFileSync } from "node:fs";
import { RunStates } from "./run_states.js";
import { arranged, datasetsOf } from "./datasets.js";

const { events, liveness, orders } = JSON.parse(readFileSync(0, "utf-8"));
const runStates = new RunStates();
for (const event of events) runStates.apply(event);
runStates.applyLiveness({ tasks: liveness });
const began = performance.now();
const datasets = datasetsOf(runStates);
const first_ms = performance.now() - began;
runStates.apply({ ...events[0], sequence: "999999999999" });
const again = performance.now();
datasetsOf(runStates);
const again_ms = performance.now() - again;
console.log(JSON.stringify({
  datasets: datasets.map(({ view, run, ...shown }) => ({ ...shown, run: run.run_id })),
  orders: orders.map((each) => arranged(datasets, each).map(({ name }) => name)),
  first_ms, again_ms,
}));
