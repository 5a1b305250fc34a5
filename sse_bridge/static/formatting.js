// Amounts and times as readable text: the same rules as pipeline/millrace/progress/formatting.py.

const SIZES = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]];
const GROUPED_MAX = 1e15;
const DURATION_MAX_S = 1e9;

const grouping = (digits) => new Intl.NumberFormat("en-US", {
  minimumFractionDigits: digits, maximumFractionDigits: digits, roundingMode: "halfEven",
});
const whole = grouping(0);
const tenths = grouping(1);

function grouped(value, format) {
  return value < GROUPED_MAX ? format.format(value) : value.toExponential(1);
}

// A number as readable text: 336,776; bytes as 12.3 MB; numbers from 10 to the 15th on as 1.7e+300.
export function amount(value, unit) {
  if (value === null || value === undefined) return "";
  const number = value + 0; // turns -0 into 0
  if (unit === "bytes") {
    const [name, size] = SIZES.find(([, least]) => number >= least) ?? ["B", 1];
    return `${grouped(number / size, size === 1 ? whole : tenths)} ${name}`;
  }
  return grouped(number, number >= 100 || Number.isInteger(number) ? whole : tenths);
}

const fourDigits = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4, roundingMode: "halfEven" });

// A measured number with four significant digits: 0.3127, 12,350, 1.0e-7.
export function significant(value) {
  if (value === null || !Number.isFinite(value)) return "not a number";
  const size = Math.abs(value);
  return value && !(size >= 1e-6 && size < GROUPED_MAX) ? value.toExponential(1) : fourDigits.format(value + 0);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "";
  const all = Math.floor(Math.min(Math.max(seconds, 0), DURATION_MAX_S));
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${all % 60} s`;
  return `${Math.floor(all / 3600)} h ${Math.floor((all % 3600) / 60)} min`;
}

// Progress, with the total if known, and the unit: 50.3 MB of 154.0 MB, 12 of 40 chunks.
export function counted({ done, total, unit }) {
  if (done === undefined) return "";
  const of = total ? ` of ${amount(total, unit)}` : "";
  return `${amount(done, unit)}${of}${unit && unit !== "bytes" ? ` ${unit}` : ""}`;
}

// The text with every lone surrogate replaced, because an address cannot contain one.
export const clean = (text) => text.replace(/\p{Surrogate}/gu, "?");

// The time left is an estimate: the longer it is, the more it is rounded.
export function about(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${amount(Math.round(seconds / 3600))} h`;
}

// A time of day, with the date unless it is today; empty for an invalid time.
export function clock(ms, now) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "";
  const time = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date(now).toDateString() ? time
    : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}
