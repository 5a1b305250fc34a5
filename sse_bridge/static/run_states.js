// What is true of each task, from the events of all its voices: the same rules as pipeline/millrace/progress/merge.py.
// tests/data/progress_cases.json holds cases for both.

import { TERMINAL, stateOfRun } from "./runs.js";

const ATTEMPT_OVER = new Set([...TERMINAL, "retrying"]);
const BEGUN = new Set(["running", "retrying"]); // what Airflow says only of an attempt that has begun
const SOURCES_MAX = 10_000; // as many as the bridge remembers

const voiceOf = (source) =>
  source.endsWith("/curves") ? "curves" : source.endsWith("/airflow") ? "airflow" : "reporter";

const runKey = (data) => JSON.stringify([data.dag_id, data.run_id]);
const taskKey = (data) => JSON.stringify([data.dag_id, data.run_id, data.task_id, data.map_index]);

function unixMs(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

const voicesOf = (attempt) => [attempt.reporter, attempt.airflow, attempt.curves].filter(Boolean);

// The first terminal state is final, from any source. What failed and will be tried again, as Airflow knows, is
// `retrying`.
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

// Whether Airflow's `word` is about the time before the attempt whose reporter was first heard with `first`.
function saidBefore(word, first) {
  if (word.data.begun === false) return true;
  if (word.at === null || first.at === null) return word.data.state === "cancelled" || word.data.state === "skipped";
  return word.at < first.at - (first.data.elapsed_s ?? 0) * 1000;
}

function saidLastWord(before, attempt, data) {
  if (TERMINAL.has(before.data.state)) {
    return voiceOf(before.source) !== "airflow" || before.bound || (Boolean(attempt?.begun) && !before.void);
  }
  // After retrying only an end means anything: Airflow may find that no attempt is left after all.
  return ATTEMPT_OVER.has(before.data.state) && !TERMINAL.has(data.state);
}

// Take what one voice says of an attempt.
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

// What people should see of a task: its highest attempt, with the reporter's newest data as `said` (or {}). What
// Airflow says of a further attempt that never began is the state of the task; the rest is then of the last that did.
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

  // Says whether the event was "new", "stale" (not newer than what its source said) or "late" (after its last word).
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
    this.sources.delete(source); // so that the map stays in the order in which things were last heard
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

  // A run as people should see it; made anew only after something was heard of it.
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

  // What Airflow announces as one task may become many: the one is then not among them.
  #tasks(run) {
    const tasks = [...run.tasks.values()];
    const mapped = new Set(tasks.filter(({ ids }) => ids.map_index >= 0).map(({ ids }) => ids.task_id));
    return tasks
      .filter((task) => task.ids.map_index >= 0 || !mapped.has(task.ids.task_id) || !onlyAnnounced(task))
      .map((task) => stateOf(task, run, this.silences));
  }

  // Forgets whole runs until few enough sources are left: finished ones first, and among them the one that was heard
  // of longest ago. The newest run stays.
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
