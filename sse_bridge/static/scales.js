// The scales of a plot. For every number that a task reports they are bounded and finite, and all loops end.

const LIMIT = 8e307; // so that the distance between two drawn numbers is finite
const LOG_MIN = 1e-300;
const TICKS_MAX = 12;

export const inLog = (value) => value !== null && value >= LOG_MIN;
export const drawn = (value) => Math.min(Math.max(value, -LIMIT), LIMIT);

// The points in the order of their steps. A null value stays null: nothing is drawn without a measurement.
export const pointsOf = (series) => [...series].sort((a, b) => a[0] - b[0]);

// The lowest and highest number of a scale for these numbers.
export function rangeOf(low, high, logarithmic, padding = 0.05) {
  if (low === null || high === null || low === undefined) return logarithmic ? [1, 10] : [0, 1];
  if (logarithmic) return [drawn(Math.max(low / 1.2, LOG_MIN / 10)), drawn(high * 1.2)];
  const pad = low === high ? Math.abs(low) * 0.05 || 1 : (high - low) * padding;
  return [low - pad, high + pad];
}

// The numbers at which a scale has marks, about `ticks` of them.
export function splitsOf(low, high, logarithmic, ticks = 7) {
  if (logarithmic) {
    const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
    const every = Math.max(1, Math.ceil((last - first) / ticks));
    const powers = [];
    for (let power = first; power <= last; power += every) powers.push(10 ** power);
    if (powers.length > 1) return powers;
  }
  const rough = (high - low) / ticks;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((each) => each >= rough);
  const first = Math.ceil(low / step) * step;
  if (!(step > 0) || !Number.isFinite(first)) return [low, high];
  const splits = [];
  for (let number = 0; number < TICKS_MAX && first + number * step <= high; number++) splits.push(first + number * step);
  return splits;
}
