// The event stream. A browser never reconnects after an HTTP error, so this class does, with backoff and jitter.

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;
const KEEPALIVE_MS = 30_000;

export class Feed {
  // Calls `onEvent(name, body)` for "open", "disconnected" and every event of the stream.
  constructor(filter, onEvent) {
    this.filter = filter;
    this.onEvent = onEvent;
    this.cursor = "";
    this.delay = FIRST_DELAY_MS;
    this.open();
  }

  open() {
    this.close();
    const query = new URLSearchParams(this.filter);
    if (this.cursor) query.set("last_event_id", this.cursor);
    const source = (this.source = new EventSource(`/events?${query}`));
    source.onopen = () => {
      this.delay = FIRST_DELAY_MS;
      this.onEvent("open");
    };
    for (const name of ["snapshot", "reset", "progress", "liveness"]) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) this.cursor = event.lastEventId;
        this.onEvent(name, JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      this.onEvent("disconnected");
      if (source.readyState === EventSource.CLOSED) this.reconnect();
    };
  }

  reconnect() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.delay * (0.5 + Math.random()));
    this.delay = Math.min(this.delay * 2, LONGEST_DELAY_MS);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
  }
}

// A shared worker holds one stream for all tabs of a browser, which allows six connections to a host. Without shared
// workers (some phones) each tab has a stream of its own, and the server applies its filter.
export function connect(filter, onEvent) {
  let leave = () => {};
  const openOwn = () => {
    const feed = new Feed(filter, onEvent);
    leave = () => feed.close();
  };
  const openShared = () => {
    const worker = new SharedWorker("/static/worker.js", { type: "module", name: "millrace-3" });
    const { port } = worker;
    const keepalive = setInterval(() => port.postMessage("keepalive"), KEEPALIVE_MS);
    leave = () => {
      clearInterval(keepalive);
      port.postMessage("bye");
      port.close();
    };
    worker.onerror = () => {
      leave();
      openOwn();
    };
    port.onmessage = ({ data }) => onEvent(data.name, data.body);
    port.postMessage("keepalive");
  };
  const start = () => (typeof SharedWorker === "undefined" ? openOwn() : openShared());
  start();
  addEventListener("pagehide", () => leave());
  addEventListener("pageshow", (event) => event.persisted && start());
}
