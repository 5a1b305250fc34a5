// For screen readers: one polite line every 30 seconds, and an alert only for failures while the page is open.

import { setText } from "./dom.js";

const RANKED = ["failed", "lost", "stalled", "running", "retrying", "queued", "cancelled", "succeeded", "skipped"];
const SPEAK_MS = 30_000;
const ILL_KEPT = 5_000;

const spoken = document.getElementById("spoken");
const alarm = document.getElementById("alarm");
const ill = new Set();
let spokenAt = 0;
let firstWords = true;

export function speak(runs, picture) {
  const counts = new Map();
  const news = [];
  for (const run of runs) {
    for (const { key: task, task_id, state, error, attempt } of picture.view(run).tasks) {
      counts.set(state, (counts.get(state) ?? 0) + 1);
      const key = `${task} ${attempt}`;
      if ((state === "failed" || state === "lost") && !ill.has(key)) {
        ill.add(key);
        if (ill.size > ILL_KEPT) ill.delete(ill.values().next().value);
        news.push(`${task_id} of ${run.run_id} ${state}${error ? `: ${error.message}` : ""}`);
      }
    }
  }
  if (news.length && !firstWords) setText(alarm, news.slice(0, 3).join(". ").slice(0, 500));
  firstWords = false;
  const now = Date.now();
  if (now - spokenAt >= SPEAK_MS) {
    spokenAt = now;
    setText(spoken, RANKED.filter((state) => counts.has(state)).map((state) => `${counts.get(state)} ${state}`).join(", "));
  }
}
