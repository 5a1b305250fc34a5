// Numbers and times as people read them: the same as sse_bridge/views.py.

const plain = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

export function amount(value, unit) {
  if (value === null || value === undefined) return "";
  if (unit === "bytes") {
    for (const [name, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
      if (value >= size) return `${one.format(value / size)} ${name}`;
    }
    return `${plain.format(value)} B`;
  }
  return value >= 100 || Number.isInteger(value) ? plain.format(value) : tenths.format(value);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

// Time left is a guess: it is told the more roughly the longer it is.
export function about(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 3600)} h`;
}

// Done, of how much where that is known, in what.
export function counted({ done, total, unit }) {
  if (done === undefined) return "";
  const of = total ? ` of ${amount(total, unit)}` : "";
  return `${amount(done, unit)}${of}${unit && unit !== "bytes" ? ` ${unit}` : ""}`;
}

// A time of day, with the day where it is another one.
export function clock(ms, now) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date(now).toDateString() ? time
    : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}
