// What is true of each task, from the events of all its voices: the same rules as pipeline/progress/merge.py.

export const TERMINAL = new Set(["succeeded", "failed", "cancelled", "skipped"]);
const RATE_WINDOW_MS = 30_000;
const RUNS_KEPT = 200;

const voiceOf = (source) =>
  source.endsWith("/curves") ? "curves" : source.endsWith("/airflow") ? "airflow" : "reporter";

const runKey = (data) => JSON.stringify([data.dag_id, data.run_id]);
const taskKey = (data) => JSON.stringify([data.dag_id, data.run_id, data.task_id, data.map_index]);

function verdict(attempt) {
  const voices = [attempt.reporter, attempt.airflow].filter(Boolean);
  const over = voices.filter((voice) => TERMINAL.has(voice.data.state));
  const retrying = voices.find((voice) => voice.data.state === "retrying");
  if (over.length) {
    const first = over.reduce((a, b) => (a.order < b.order ? a : b));
    const again = (first.data.state === "failed" || first.data.state === "cancelled") && retrying === attempt.airflow;
    return [again && retrying ? "retrying" : first.data.state, first];
  }
  const decisive = retrying ?? attempt.reporter ?? attempt.airflow;
  return [decisive ? decisive.data.state : "queued", decisive];
}

export class Picture {
  constructor() {
    this.clear();
  }

  clear() {
    this.sources = new Map();
    this.runs = new Map();
    this.silences = new Map();
    this.order = 0;
  }

  replace(snapshot) {
    const samples = new Map([...this.sources].map(([source, heard]) => [source, heard.samples]));
    this.clear();
    for (const event of snapshot.events) {
      this.apply(event, samples.get(event.source));
    }
    this.hear(snapshot.liveness);
  }

  apply(event, samples) {
    const { source, sequence, data } = event;
    const before = this.sources.get(source);
    if (before) {
      if (sequence <= before.sequence || TERMINAL.has(before.data.state)) return false;
      if (before.data.state === "retrying" && !TERMINAL.has(data.state)) return false;
    }
    const heard = { source, sequence, data, at: Date.parse(event.time), order: ++this.order };
    heard.samples = (before?.samples ?? samples ?? []).filter((sample) => heard.at - sample.at <= RATE_WINDOW_MS);
    if (voiceOf(source) === "reporter") {
      heard.samples.push({ at: heard.at, done: data.done });
      const last = before ?? { data: {} };
      heard.moved = last.data.done === data.done && last.data.phase === data.phase ? last.moved : heard.at;
      this.silences.delete(source);
    }
    this.sources.set(source, heard);
    const run = this.#run(data);
    run.order = this.order;
    run.started = Math.min(run.started, heard.at - (data.elapsed_s ?? 0) * 1000);
    run.heard = Math.max(run.heard, heard.at);
    const key = taskKey(data);
    if (!run.tasks.has(key)) run.tasks.set(key, { key, data, attempts: new Map() });
    const { attempts } = run.tasks.get(key);
    if (!attempts.has(data.attempt)) attempts.set(data.attempt, {});
    attempts.get(data.attempt)[voiceOf(source)] = heard;
    return true;
  }

  hear(liveness) {
    if (!liveness) return;
    this.silences = new Map(liveness.tasks.map((task) => [task.source, task]));
  }

  #run(data) {
    const key = runKey(data);
    let run = this.runs.get(key);
    if (!run) {
      run = { key, dag_id: data.dag_id, run_id: data.run_id, tasks: new Map(), order: 0, started: Infinity, heard: 0 };
      this.runs.set(key, run);
      if (this.runs.size > RUNS_KEPT) this.#forgetOldest();
    }
    return run;
  }

  #forgetOldest() {
    const oldest = [...this.runs.values()].reduce((a, b) => (a.order < b.order ? a : b));
    for (const task of oldest.tasks.values()) {
      for (const attempt of task.attempts.values()) {
        for (const heard of Object.values(attempt)) this.sources.delete(heard.source);
      }
    }
    this.runs.delete(oldest.key);
  }

  newestRuns() {
    return [...this.runs.values()].sort((a, b) => b.started - a.started || b.order - a.order);
  }

  // What Airflow announces as one task may become many: the one is then not among them.
  tasksOf(run) {
    const tasks = [...run.tasks.values()];
    const mapped = new Set(tasks.filter(({ data }) => data.map_index >= 0).map(({ data }) => data.task_id));
    const announced = (task) => [...task.attempts.values()].every((attempt) => !attempt.reporter && !attempt.curves);
    return tasks.filter((task) => task.data.map_index >= 0 || !mapped.has(task.data.task_id) || !announced(task));
  }

  task(task) {
    const number = Math.max(...task.attempts.keys());
    const attempt = task.attempts.get(number);
    let [state, decisive] = verdict(attempt);
    const said = attempt.reporter?.data ?? {};
    const silence = attempt.reporter && this.silences.get(attempt.reporter.source);
    if (state === "running" && silence && silence.state !== "running") state = silence.state;
    const error = state === "running" || state === "succeeded" ? null
      : decisive?.data.error ?? attempt.reporter?.data.error ?? attempt.airflow?.data.error ?? null;
    return {
      ...task.data, attempt: number, state, said, error,
      rate: rateOf(attempt.reporter, state),
      at: attempt.reporter?.at,
      heard: silence ? Date.parse(silence.heard) : attempt.reporter?.at,
      moved: silence?.moved ? Date.parse(silence.moved) : attempt.reporter?.moved,
      series: attempt.curves?.data.series,
    };
  }
}

function rateOf(heard, state) {
  if (!heard) return null;
  const { samples, data } = heard;
  if (TERMINAL.has(state) || samples.length < 3) return data.rate;
  const [first, last] = [samples[0], samples[samples.length - 1]];
  return last.at - first.at >= 2000 ? ((last.done - first.done) * 1000) / (last.at - first.at) : data.rate;
}
