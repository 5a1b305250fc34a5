// Reads events from standard input and prints the datasets that the page shows; run by test_dataset_rules.py.
import { readFileSync } from "node:fs";
import { RunStates } from "./run_states.js";
import { arranged, datasetsOf } from "./datasets.js";

const { events, liveness, orders } = JSON.parse(readFileSync(0, "utf-8"));
const runStates = new RunStates();
for (const event of events) runStates.apply(event);
runStates.applyLiveness({ tasks: liveness });
const datasets = datasetsOf(runStates);
runStates.apply({ ...events[0], sequence: "999999999999" });
const began = process.cpuUsage();
datasetsOf(runStates);
const used = process.cpuUsage(began); // processor time: other programs delay this one
const again_ms = (used.user + used.system) / 1000;
console.log(JSON.stringify({
  datasets: datasets.map(({ view, run, ...shown }) => ({ ...shown, run: run.run_id })),
  orders: orders.map((each) => arranged(datasets, each).map(({ name }) => name)),
  again_ms,
}));
