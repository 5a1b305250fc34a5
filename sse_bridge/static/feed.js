// The event stream. A browser never reconnects after an HTTP error, so this class does, with backoff and jitter.

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;
const HERE_MS = 30_000;

export class Feed {
  // Calls `told(name, body)` for "open", "lost" and every event of the stream.
  constructor(filter, told) {
    this.filter = filter;
    this.told = told;
    this.cursor = "";
    this.pause = FIRST_MS;
    this.open();
  }

  open() {
    this.close();
    const query = new URLSearchParams(this.filter);
    if (this.cursor) query.set("last_event_id", this.cursor);
    const source = (this.source = new EventSource(`/events?${query}`));
    source.onopen = () => {
      this.pause = FIRST_MS;
      this.told("open");
    };
    for (const name of ["snapshot", "reset", "progress", "liveness"]) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) this.cursor = event.lastEventId;
        this.told(name, JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      this.told("lost");
      if (source.readyState === EventSource.CLOSED) this.again();
    };
  }

  again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.pause * (0.5 + Math.random()));
    this.pause = Math.min(this.pause * 2, LONGEST_MS);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
  }
}

// A shared worker holds one stream for all tabs of a browser, which allows six connections to a host. Without shared
// workers (some phones) each tab has a stream of its own, and the server applies its filter.
export function connect(filter, told) {
  let leave = () => {};
  const own = () => {
    const feed = new Feed(filter, told);
    leave = () => feed.close();
  };
  const shared = () => {
    const worker = new SharedWorker("/static/worker.js", { type: "module", name: "millrace-2" });
    const { port } = worker;
    const here = setInterval(() => port.postMessage("here"), HERE_MS);
    leave = () => {
      clearInterval(here);
      port.postMessage("bye");
      port.close();
    };
    worker.onerror = () => {
      leave();
      own();
    };
    port.onmessage = ({ data }) => told(data.name, data.body);
    port.postMessage("here");
  };
  const begin = () => (typeof SharedWorker === "undefined" ? own() : shared());
  begin();
  addEventListener("pagehide", () => leave());
  addEventListener("pageshow", (event) => event.persisted && begin());
}
