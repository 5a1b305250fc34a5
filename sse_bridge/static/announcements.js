// For screen readers: one polite line every 30 seconds, and an alert only for failures while the page is open.

import { setText } from "./dom.js";

const STATE_ORDER = ["failed", "lost", "stalled", "running", "retrying", "queued", "cancelled", "succeeded", "skipped"];
const INTERVAL_MS = 30_000;
const REPORTED_MAX = 5_000;

const announcement = document.getElementById("announcement");
const alert = document.getElementById("alert");
const reported = new Set();
let announcedAt = 0;
let isFirst = true;

export function announce(runs, runStates) {
  const counts = new Map();
  const failures = [];
  for (const run of runs) {
    for (const { key: task, task_id, state, error, attempt } of runStates.view(run).tasks) {
      counts.set(state, (counts.get(state) ?? 0) + 1);
      const key = `${task} ${attempt}`;
      if ((state === "failed" || state === "lost") && !reported.has(key)) {
        reported.add(key);
        if (reported.size > REPORTED_MAX) reported.delete(reported.values().next().value);
        failures.push(`${task_id} of ${run.run_id} ${state}${error ? `: ${error.message}` : ""}`);
      }
    }
  }
  if (failures.length && !isFirst) setText(alert, failures.slice(0, 3).join(". ").slice(0, 500));
  isFirst = false;
  const now = Date.now();
  if (now - announcedAt >= INTERVAL_MS) {
    announcedAt = now;
    setText(announcement, STATE_ORDER.filter((state) => counts.has(state)).map((state) => `${counts.get(state)} ${state}`).join(", "));
  }
}
