// Training curves: loss and metrics by step, drawn anew when a new snapshot of them comes.

import { make } from "./dom.js";
import { amount } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 100;
const HIGH = 40;

const short = (value) => String(Number(value.toPrecision(4)));

function drawing(name, className, attributes) {
  const element = document.createElementNS(SVG, name);
  if (className) element.setAttribute("class", className);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// A value that is no number breaks the line: nothing is drawn where nothing was measured.
function pieces(points) {
  const all = [[]];
  for (const point of points) {
    if (point[1] !== null) all[all.length - 1].push(point);
    else if (all[all.length - 1].length) all.push([]);
  }
  return all.filter((piece) => piece.length);
}

function figure(name, points) {
  const finite = points.filter((point) => point[1] !== null);
  if (!finite.length) return make("figure", "", make("figcaption", "", `${name}: no number yet`));
  const [xs, ys] = [finite.map((point) => point[0]), finite.map((point) => point[1])];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const x = (step) => (((step - left) / (right - left || 1)) * WIDE).toFixed(2);
  const y = (value) => (high === low ? HIGH / 2 : HIGH - 2 - ((value - low) / (high - low)) * (HIGH - 4)).toFixed(2);
  const svg = drawing("svg", "", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img" });
  const last = ys[ys.length - 1];
  svg.setAttribute("aria-label", `${name} by step, from ${short(ys[0])} at step ${left} to ${short(last)} at step ${right}`);
  for (const share of [0, 0.5, 1]) {
    const height = (2 + share * (HIGH - 4)).toFixed(2);
    svg.append(drawing("line", "grid", { x1: 0, x2: WIDE, y1: height, y2: height }));
  }
  for (const piece of pieces(points)) {
    // One point alone is a dot: a line of no length with round ends.
    const drawn = piece.length > 1 ? piece : [piece[0], piece[0]];
    svg.append(drawing("polyline", "", { points: drawn.map((point) => `${x(point[0])},${y(point[1])}`).join(" ") }));
  }
  const newest = make("strong", "", short(last));
  const title = make("figcaption", "", `${name} `, newest, ` at step ${amount(right)}`);
  const ends = make("div", "ends", make("span", "", `step ${amount(left)}`), make("span", "", amount(right)));
  const range = make("div", "range", make("span", "", short(high)), make("span", "", short(low)));
  ends.ariaHidden = range.ariaHidden = "true"; // the picture's label says it
  return make("figure", "", title, make("div", "plot", range, svg), ends);
}

export function paintCurves(place, series) {
  if (!series || place.series === series) return;
  place.series = series;
  place.element.replaceChildren(...Object.entries(series).map(([name, points]) => figure(name, points)));
}
