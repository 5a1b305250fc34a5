// One curve, drawn by uPlot as wide as the page. The value under the pointer or chosen by the arrow keys is shown.

import { make, setText } from "./dom.js";
import { drawn, inLog, pointsOf, rangeOf, splitsOf } from "./scales.js";
import { amount } from "./formatting.js";

const HEIGHT = 200;
const NAME_MAX = 200;
const NARROW = 500;
const KEYS = {
  ArrowLeft: (at) => at - 1, ArrowRight: (at) => at + 1, Home: () => 0, End: (at, last) => last,
};

const short = (value) => (value === null ? "not a number" : String(Number(value.toPrecision(4))));
const mark = (value) => (value === null ? "" : Math.abs(value) < 1e6 ? short(value) : value.toExponential(1));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

// uPlot listens to the window while a plot exists, so a plot whose element has left the page is destroyed.
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const width = Math.round(contentRect.width);
    if (!target.isConnected) {
      sizes.unobserve(target); // drawFigure observes it again with its next plot
      target.plot?.destroy();
      target.plot = null;
    } else if (target.plot && width && width !== target.plot.width) {
      target.plot.setSize({ width, height: HEIGHT });
    }
  }
});

export function makeFigure(metric) {
  const name = metric.length > NAME_MAX ? `${metric.slice(0, NAME_MAX - 1)}\u2026` : metric;
  const value = make("strong");
  const figure = { name, value, position: make("span"), target: make("div", "plot"), points: [] };
  figure.caption = make("figcaption", "", `${name} `, value, " ", figure.position);
  figure.element = make("figure", "", figure.caption, figure.target);
  const { target, caption } = figure;
  target.tabIndex = 0;
  target.role = "img";
  // Only while the plot has the focus; otherwise a screen reader would read every new value aloud.
  target.onfocus = () => { caption.ariaLive = "polite"; };
  target.onblur = () => {
    caption.ariaLive = "off";
    target.plot?.setCursor({ left: -10, top: -10 });
  };
  target.onkeydown = (event) => moveCursor(figure, event);
  return figure;
}

// Redraws the points. Another `style` (scale and theme) requires a new plot.
export function drawFigure(UPlot, figure, series, logarithmic, style) {
  const { name, target } = figure;
  figure.points = pointsOf(series);
  const finite = figure.points.filter((point) => point[1] !== null);
  target.hidden = !finite.length;
  if (!finite.length) {
    setText(figure.value, "");
    setText(figure.position, "no value yet");
    return;
  }
  figure.newest = finite[finite.length - 1];
  const log = logarithmic && finite.some((point) => inLog(point[1]));
  figure.omission = logarithmic && finite.some((point) => !inLog(point[1])) ? "; values of 0 and less are not shown on this scale" : "";
  const [first, last] = [finite[0], figure.newest];
  target.ariaLabel = `${name} by step, from ${short(first[1])} at step ${first[0]} to ${short(last[1])} at step ${last[0]}`;
  const data = [
    figure.points.map((point) => drawn(point[0])),
    figure.points.map(([, value]) => (value === null || (log && !inLog(value)) ? null : drawn(value))),
  ];
  if (target.plot && figure.style === `${style} ${log}`) {
    target.plot.setData(data);
  } else {
    target.plot?.destroy();
    figure.style = `${style} ${log}`;
    target.plot = new UPlot(optionsOf(figure, log), data, target);
    sizes.observe(target);
  }
  showValue(figure, target.plot.cursor.idx);
}

function showValue(figure, index) {
  const [step, value] = figure.points[index] ?? figure.newest;
  setText(figure.value, short(value));
  setText(figure.position, `at step ${amount(step)}${figure.omission}`);
}

function moveCursor({ target, points }, event) {
  const chosen = KEYS[event.key];
  if (!chosen || !target.plot || !points.length) return;
  event.preventDefault();
  const last = points.length - 1;
  const index = Math.min(Math.max(chosen(target.plot.cursor.idx ?? last, last), 0), last);
  target.plot.setCursor({ left: target.plot.valToPos(target.plot.data[0][index], "x"), top: HEIGHT / 4 });
}

function optionsOf(figure, log) {
  const axis = (scale, size) => ({
    scale, size, stroke: colour("--soft"), font: "12px system-ui, sans-serif",
    grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
    splits: (plot, number, low, high) => splitsOf(low, high, log && scale === "y", plot.width < NARROW && scale === "x" ? 4 : 7),
    filter: (plot, splits) => splits, // uPlot's own filter leaves most of a logarithmic scale without marks
    values: (plot, splits) => splits.map((split) => (scale === "x" ? amount(split) : mark(split))),
  });
  return {
    width: figure.target.clientWidth || 300,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 8 } },
    scales: {
      x: { time: false, range: (plot, low, high) => rangeOf(low, high, false, 0) },
      y: { distr: log ? 3 : 1, range: (plot, low, high) => rangeOf(low, high, log) },
    },
    axes: [axis("x", 32), axis("y", 72)],
    series: [{}, { stroke: colour("--run"), width: 2, points: { show: true, size: 5, filter: alone } }],
    hooks: { setCursor: [(plot) => showValue(figure, plot.cursor.idx)] },
  };
}

// A point between two gaps has no line, so it is drawn as a dot.
function alone(plot) {
  const values = plot.data[1];
  const gap = (index) => values[index] === null || values[index] === undefined;
  return [...values.keys()].filter((index) => !gap(index) && gap(index - 1) && gap(index + 1));
}
