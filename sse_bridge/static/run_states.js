// The state of each task, merged from the events of all its sources: the rules of pipeline/millrace/progress/merge.py.
// tests/data/progress_cases.json holds cases for both.

import { TERMINAL, stateOfRun } from "./runs.js";

const ATTEMPT_OVER = new Set([...TERMINAL, "retrying"]);
const BEGUN = new Set(["running", "retrying"]); // states that Airflow reports only for an attempt that has begun
const SOURCES_MAX = 10_000; // the bridge's default

const voiceOf = (source) =>
  source.endsWith("/curves") ? "curves" : source.endsWith("/airflow") ? "airflow" : "reporter";

const runKey = (data) => JSON.stringify([data.dag_id, data.run_id]);
const taskKey = (data) => JSON.stringify([data.dag_id, data.run_id, data.task_id, data.map_index]);

function unixMs(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

const voicesOf = (attempt) => [attempt.reporter, attempt.airflow, attempt.curves].filter(Boolean);

// The state of an attempt and the event that decides it. The first terminal state is final, from any source. An attempt
// that failed or was cancelled is `retrying` if Airflow reports that.
function verdict(attempt) {
  const voices = [attempt.reporter, attempt.airflow].filter((voice) => voice && !voice.void);
  const over = voices.filter((voice) => TERMINAL.has(voice.data.state));
  const retrying = voices.find((voice) => voice.data.state === "retrying");
  if (over.length) {
    const first = over.reduce((a, b) => (a.order < b.order ? a : b));
    const again = (first.data.state === "failed" || first.data.state === "cancelled") && retrying === attempt.airflow;
    return [again && retrying ? "retrying" : first.data.state, first];
  }
  const decisive = retrying ?? voices[0];
  return [decisive ? decisive.data.state : "queued", decisive];
}

// Whether Airflow's event `word` is about the time before the attempt whose reporter's first event is `first`.
function saidBefore(word, first) {
  if (word.data.begun === false) return true;
  if (word.at === null || first.at === null) return word.data.state === "cancelled" || word.data.state === "skipped";
  return word.at < first.at - (first.data.elapsed_s ?? 0) * 1000;
}

function saidLastWord(before, attempt, data) {
  if (TERMINAL.has(before.data.state)) {
    return voiceOf(before.source) !== "airflow" || before.bound || (Boolean(attempt?.begun) && !before.void);
  }
  // After `retrying` only a terminal state counts: Airflow may find that no attempt is left after all.
  return ATTEMPT_OVER.has(before.data.state) && !TERMINAL.has(data.state);
}

// Records the newest event of one kind of source of an attempt.
function hear(attempt, voice, heard) {
  const before = attempt.airflow;
  if (voice === "airflow") {
    const begun = heard.data.begun !== false;
    heard.bound = begun && (attempt.begun || BEGUN.has(heard.data.state));
    attempt.begun = attempt.begun || heard.bound;
    heard.void = !begun && Boolean(attempt.reporter);
  } else {
    attempt.begun = true;
    if (voice === "reporter" && !attempt.reporter && before && !before.bound) before.void = saidBefore(before, heard);
  }
  attempt[voice] = heard;
}

function maxOf(numbers) {
  return numbers.reduce((a, b) => Math.max(a, b), 0);
}

// The displayed state of a task: its highest attempt, with the reporter's newest data as `said` (or {}). If Airflow
// reports the end of a further attempt that never began, that is the state of the task. The other fields are then those
// of the last attempt that began.
function stateOf(task, run, silences) {
  const numbers = [...task.attempts.keys()];
  const newest = maxOf(numbers);
  const attempt = task.attempts.get(newest);
  const [verdictState, decisive] = verdict(attempt);
  let state = verdictState;
  let error = (ATTEMPT_OVER.has(state) && decisive?.data.error) || null;
  if (!error && ["failed", "retrying", "cancelled"].includes(state)) {
    error = voicesOf(attempt).find((voice) => voice.data.error)?.data.error ?? null;
  }
  let number = newest;
  if (TERMINAL.has(state) && !attempt.begun && decisive?.data.begun === false) {
    const begun = numbers.filter((each) => task.attempts.get(each).begun);
    number = begun.length ? maxOf(begun) : newest;
  }
  const shown = task.attempts.get(number);
  const { reporter } = shown;
  const silence = reporter && silences.get(reporter.source);
  if (state === "running" && silence) state = silence.state;
  return {
    ...task.ids, key: task.key, attempt: number, state, error,
    said: reporter?.data ?? {},
    at: reporter?.at ?? null,
    heard: silence ? Date.parse(silence.heard) : reporter?.at,
    moved: silence?.moved ? Date.parse(silence.moved) : reporter?.moved,
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
    this.silences = new Map();
    this.order = 0;
  }

  replace(snapshot) {
    this.clear();
    for (const event of snapshot.events) this.apply(event);
    this.hear(snapshot.liveness);
  }

  // Returns "new", "stale" (not newer than its source's last event) or "late" (after its source's final event).
  apply(event) {
    const { source, sequence, data } = event;
    const voice = voiceOf(source);
    const before = this.sources.get(source);
    if (before) {
      const known = this.runs.get(runKey(data))?.tasks.get(taskKey(data))?.attempts.get(data.attempt);
      if (sequence <= before.sequence) return "stale";
      if (saidLastWord(before, known, data)) return "late";
    }
    const run = this.#run(data);
    const attempt = this.#attempt(run, data);
    const heard = { source, sequence, data, event, at: unixMs(event.time), order: ++this.order, bound: true, void: false };
    if (voice === "reporter") {
      const last = before ?? { data: {} };
      heard.moved = last.data.done === data.done && last.data.phase === data.phase ? last.moved : heard.at;
      this.silences.delete(source);
    }
    this.sources.delete(source); // so that the map stays in the order of the newest events
    this.sources.set(source, heard);
    run.order = this.order;
    run.seen = null;
    if (heard.at !== null) {
      run.started = Math.min(run.started, heard.at - (data.elapsed_s ?? 0) * 1000);
      run.heard = Math.max(run.heard, heard.at);
    }
    if (data.step !== undefined) run.steps.set(data.task_id, data.step);
    hear(attempt, voice, heard);
    if (this.sources.size > this.sourcesMax * 1.1) this.#shrink();
    return "new";
  }

  hear(liveness) {
    if (!liveness) return;
    const before = this.silences;
    this.silences = new Map(liveness.tasks.map((task) => [task.source, task]));
    for (const source of [...before.keys(), ...this.silences.keys()]) {
      const heard = this.sources.get(source);
      if (heard) this.#run(heard.data).seen = null;
    }
  }

  // The newest event of each source, in the order of their arrival.
  events() {
    return [...this.sources.values()].map((heard) => heard.event);
  }

  // The displayed state of a run, computed again only after an event or liveness message of it.
  view(run) {
    run.seen ??= stateOfRun(run, this.#tasks(run));
    return run.seen;
  }

  newestRuns() {
    return [...this.runs.values()].sort((a, b) => b.started - a.started || b.order - a.order);
  }

  #run(data) {
    const key = runKey(data);
    let run = this.runs.get(key);
    if (!run) {
      const { dag_id, run_id } = data;
      run = { key, dag_id, run_id, tasks: new Map(), steps: new Map(), order: 0, started: Infinity, heard: 0, seen: null };
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
      .map((task) => stateOf(task, run, this.silences));
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
          for (const heard of voicesOf(attempt)) this.sources.delete(heard.source);
        }
      }
      this.runs.delete(run.key);
    }
  }
}
