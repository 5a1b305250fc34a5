// Links to the same run or task in Airflow; none for work that Airflow has not started.

import { make, pathOf } from "./dom.js";

const base = globalThis.document?.body.dataset.airflow ?? "";

function link(text, title, address) {
  const anchor = make("a", "outside", text);
  anchor.href = address;
  anchor.target = "_blank";
  anchor.rel = "noopener";
  anchor.title = title;
  return anchor;
}

const isInAirflow = ({ dag_id }) => base && dag_id !== "cli" && dag_id !== "python";
const runAddress = ({ dag_id, run_id }) => `${base}/${pathOf("dags", dag_id, "runs", run_id)}`;

export function runLinks(run) {
  return isInAirflow(run) ? [link("Airflow", "this run in Airflow", runAddress(run))] : [];
}

// The link to the log of the attempt that is shown; null for work that Airflow has not started.
export function logLink(task) {
  return isInAirflow(task) ? link("log", "the log of this task in Airflow", "") : null;
}

export function logAddress(task) {
  const mapped = task.map_index >= 0 ? ["mapped", task.map_index] : [];
  return `${runAddress(task)}/${pathOf("tasks", task.task_id, ...mapped)}?try_number=${task.attempt}`;
}
