// The state of each task, merged from the events of all its sources: the rules of pipeline/millrace/progress/merge.py.
// tests/data/progress_cases.json holds cases for both.

import { TERMINAL, stateOfRun } from "./runs.js";

const ATTEMPT_OVER = new Set([...TERMINAL, "retrying"]);
const BEGUN = new Set(["running", "retrying"]); // states that Airflow reports only for an attempt that has begun
const SOURCES_MAX = 10_000; // the bridge's default

const roleOf = (source) =>
  source.endsWith("/curves") ? "curves" : source.endsWith("/airflow") ? "airflow" : "reporter";

const runKey = (data) => JSON.stringify([data.dag_id, data.run_id]);
const taskKey = (data) => JSON.stringify([data.dag_id, data.run_id, data.task_id, data.map_index]);

function unixMs(text) {
  const time = Date.parse(text);
  return Number.isNaN(time) ? null : time;
}

const latestEvents = (attempt) => [attempt.reporter, attempt.airflow, attempt.curves].filter(Boolean);

// The state of an attempt and the event that decides it. The first terminal state is final, from any source. An attempt
// that failed or was cancelled is `retrying` if Airflow reports that.
function resolveState(attempt) {
  const events = [attempt.reporter, attempt.airflow].filter((event) => event && !event.superseded);
  const terminal = events.filter((event) => TERMINAL.has(event.data.state));
  const retrying = events.find((event) => event.data.state === "retrying");
  if (terminal.length) {
    const first = terminal.reduce((a, b) => (a.order < b.order ? a : b));
    const retried = (first.data.state === "failed" || first.data.state === "cancelled") && retrying === attempt.airflow;
    return [retried && retrying ? "retrying" : first.data.state, first];
  }
  const decisive = retrying ?? events[0];
  return [decisive ? decisive.data.state : "queued", decisive];
}

// Whether Airflow's event `report` is about the time before the attempt whose reporter's first event is `first`.
function precedesStart(report, first) {
  if (report.data.begun === false) return true;
  if (report.time === null || first.time === null) return report.data.state === "cancelled" || report.data.state === "skipped";
  return report.time < first.time - (first.data.elapsed_s ?? 0) * 1000;
}

function isLate(before, attempt, data) {
  if (TERMINAL.has(before.data.state)) {
    return roleOf(before.source) !== "airflow" || before.ofBegunAttempt || (Boolean(attempt?.begun) && !before.superseded);
  }
  // After `retrying` only a terminal state counts: Airflow may find that no attempt is left after all.
  return ATTEMPT_OVER.has(before.data.state) && !TERMINAL.has(data.state);
}

// Records the newest event of one kind of source of an attempt.
function storeLatest(attempt, role, latest) {
  const before = attempt.airflow;
  if (role === "airflow") {
    const begun = latest.data.begun !== false;
    latest.ofBegunAttempt = begun && (attempt.begun || BEGUN.has(latest.data.state));
    attempt.begun = attempt.begun || latest.ofBegunAttempt;
    latest.superseded = !begun && Boolean(attempt.reporter);
  } else {
    attempt.begun = true;
    if (role === "reporter" && !attempt.reporter && before && !before.ofBegunAttempt) {
      before.superseded = precedesStart(before, latest);
    };
  }
  attempt[role] = latest;
}

function maxOf(numbers) {
  return numbers.reduce((a, b) => Math.max(a, b), 0);
}

// The displayed state of a task: its highest attempt, with the reporter's newest data as `data` (or {}). If Airflow
// reports the end of a further attempt that never began, that is the state of the task. The other fields are then those
// of the last attempt that began.
function stateOf(task, run, liveness) {
  const numbers = [...task.attempts.keys()];
  const newest = maxOf(numbers);
  const attempt = task.attempts.get(newest);
  const [resolvedState, decisive] = resolveState(attempt);
  let state = resolvedState;
  let error = (ATTEMPT_OVER.has(state) && decisive?.data.error) || null;
  if (!error && ["failed", "retrying", "cancelled"].includes(state)) {
    error = latestEvents(attempt).find((event) => event.data.error)?.data.error ?? null;
  }
  let number = newest;
  if (TERMINAL.has(state) && !attempt.begun && decisive?.data.begun === false) {
    const begun = numbers.filter((each) => task.attempts.get(each).begun);
    number = begun.length ? maxOf(begun) : newest;
  }
  const shown = task.attempts.get(number);
  const { reporter } = shown;
  const taskLiveness = reporter && liveness.get(reporter.source);
  if (state === "running" && taskLiveness) state = taskLiveness.state;
  return {
    ...task.ids, key: task.key, attempt: number, state, error,
    data: reporter?.data ?? {},
    sent: reporter?.time ?? null,
    received: taskLiveness ? Date.parse(taskLiveness.received) : reporter?.time,
    progressed: taskLiveness?.progressed ? Date.parse(taskLiveness.progressed) : reporter?.progressed,
    step: run.steps.get(task.ids.task_id) ?? null,
    series: shown.curves?.data.series,
  };
}

const onlyAnnounced = (task) => [...task.attempts.values()].every((attempt) => !attempt.reporter && !attempt.curves);

export class RunStates {
  constructor(sourcesMax = SOURCES_MAX) {
    this.sourcesMax = sourcesMax;
    this.clear();
  }

  clear() {
    this.sources = new Map();
    this.runs = new Map();
    this.liveness = new Map();
    this.order = 0;
  }

  replace(snapshot) {
    this.clear();
    for (const event of snapshot.events) this.apply(event);
    this.applyLiveness(snapshot.liveness);
  }

  // Returns "new", "stale" (not newer than its source's last event) or "late" (after its source's final event).
  apply(event) {
    const { source, sequence, data } = event;
    const role = roleOf(source);
    const before = this.sources.get(source);
    if (before) {
      const attempt = this.runs.get(runKey(data))?.tasks.get(taskKey(data))?.attempts.get(data.attempt);
      if (sequence <= before.sequence) return "stale";
      if (isLate(before, attempt, data)) return "late";
    }
    const run = this.#run(data);
    const attempt = this.#attempt(run, data);
    const latest = {
      source, sequence, data, event, time: unixMs(event.time), order: ++this.order, ofBegunAttempt: true, superseded: false,
    };
    if (role === "reporter") {
      const last = before ?? { data: {} };
      const unchanged = last.data.done === data.done && last.data.phase === data.phase;
      latest.progressed = unchanged ? last.progressed : latest.time;
      this.liveness.delete(source);
    }
    this.sources.delete(source); // so that the map stays in the order of the newest events
    this.sources.set(source, latest);
    run.order = this.order;
    run.cachedView = null;
    if (latest.time !== null) {
      run.started = Math.min(run.started, latest.time - (data.elapsed_s ?? 0) * 1000);
      run.updated = Math.max(run.updated, latest.time);
    }
    if (data.step !== undefined) run.steps.set(data.task_id, data.step);
    storeLatest(attempt, role, latest);
    if (this.sources.size > this.sourcesMax * 1.1) this.#shrink();
    return "new";
  }

  applyLiveness(liveness) {
    if (!liveness) return;
    const before = this.liveness;
    this.liveness = new Map(liveness.tasks.map((task) => [task.source, task]));
    for (const source of [...before.keys(), ...this.liveness.keys()]) {
      const latest = this.sources.get(source);
      if (latest) this.#run(latest.data).cachedView = null;
    }
  }

  // The newest event of each source, in the order of their arrival.
  events() {
    return [...this.sources.values()].map((latest) => latest.event);
  }

  // The displayed state of a run, computed again only after an event or liveness message of it.
  view(run) {
    run.cachedView ??= stateOfRun(run, this.#tasks(run));
    return run.cachedView;
  }

  newestRuns() {
    return [...this.runs.values()].sort((a, b) => b.started - a.started || b.order - a.order);
  }

  #run(data) {
    const key = runKey(data);
    let run = this.runs.get(key);
    if (!run) {
      const { dag_id, run_id } = data;
      run = { key, dag_id, run_id, tasks: new Map(), steps: new Map(), order: 0, started: Infinity, updated: 0, cachedView: null };
      this.runs.set(key, run);
    }
    return run;
  }

  #attempt(run, data) {
    const key = taskKey(data);
    if (!run.tasks.has(key)) {
      const { dag_id, run_id, task_id, map_index } = data;
      run.tasks.set(key, { key, ids: { dag_id, run_id, task_id, map_index }, attempts: new Map() });
    }
    const { attempts } = run.tasks.get(key);
    if (!attempts.has(data.attempt)) attempts.set(data.attempt, { begun: false });
    return attempts.get(data.attempt);
  }

  // A task that Airflow announces as one may become mapped. The unmapped one is then left out.
  #tasks(run) {
    const tasks = [...run.tasks.values()];
    const mapped = new Set(tasks.filter(({ ids }) => ids.map_index >= 0).map(({ ids }) => ids.task_id));
    return tasks
      .filter((task) => task.ids.map_index >= 0 || !mapped.has(task.ids.task_id) || !onlyAnnounced(task))
      .map((task) => stateOf(task, run, this.liveness));
  }

  // Forgets whole runs until few enough sources are left: finished runs first, and among them the least recently
  // updated one. The most recently updated run stays.
  #shrink() {
    const byAge = [...this.runs.values()].sort((a, b) => a.order - b.order).slice(0, -1);
    const finished = (run) => this.view(run).tasks.every((task) => TERMINAL.has(task.state));
    const [over, open] = [[], []];
    for (const run of byAge) (finished(run) ? over : open).push(run);
    for (const run of [...over, ...open]) {
      if (this.sources.size <= this.sourcesMax) return;
      for (const task of run.tasks.values()) {
        for (const attempt of task.attempts.values()) {
          for (const latest of latestEvents(attempt)) this.sources.delete(latest.source);
        }
      }
      this.runs.delete(run.key);
    }
  }
}
