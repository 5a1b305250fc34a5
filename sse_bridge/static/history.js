// Runs that are over, one line each: state, start, duration, average rate, and the outcome or error.

import { arrange, headRow, make, path, setClass, setState, setText } from "./dom.js";
import { amount, clock, duration } from "./formatting.js";

export function makeHistory() {
  const body = make("tbody");
  const heads = headRow("Run", "State", "Started", "Took", "Average rate");
  const section = make("section", "run history", make("h2", "", "Finished runs"), make("table", "", heads, body));
  return { section, body, lines: new Map() };
}

function makeLine(run) {
  const link = make("a", "", make("span", "dag", run.dag_id), " ", make("span", "id", run.run_id));
  link.href = path(run.dag_id, run.run_id);
  const line = { state: make("span", "state"), headline: make("div", "message") };
  for (const cell of ["began", "took", "rate"]) line[cell] = make("td", "number");
  const head = make("th", "", link, line.headline);
  head.scope = "row";
  line.tr = make("tr", "", head, make("td", "", line.state), line.began, line.took, line.rate);
  return line;
}

export function paintHistory(history, runs, runStates, now) {
  const shown = new Set(runs.map((run) => run.key));
  for (const key of history.lines.keys()) if (!shown.has(key)) history.lines.delete(key);
  arrange(history.body, runs.map((run) => {
    if (!history.lines.has(run.key)) history.lines.set(run.key, makeLine(run));
    const line = history.lines.get(run.key);
    // A run that is over changes only when another event of it arrives.
    if (line.order !== run.order) {
      line.order = run.order;
      const { state, total, headline } = runStates.view(run);
      setState(line.state, state);
      setText(line.began, Number.isFinite(run.started) ? clock(run.started, now) : "");
      setText(line.took, Number.isFinite(run.started) ? duration((run.updated - run.started) / 1000) : "");
      setText(line.rate, total?.rate ? `${amount(total.rate, total.unit)}/s` : "");
      setText(line.headline, headline);
      setClass(line.headline, state === "failed" ? "error" : "message");
    }
    return line.tr;
  }));
}
