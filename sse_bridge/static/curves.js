// The training curves of a task: one plot for each metric, redrawn when a new snapshot of them arrives.

import { arrange, make, setText } from "./dom.js";
import { drawFigure, makeFigure } from "./plot.js";
import { amount } from "./formatting.js";

const FIGURES_MAX = 24;

let UPlot = null;
let loading = null;

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.dataset.theme ?? String(dark.matches);

// Fetches uPlot for the first curve. Curves that wait for it are painted again within a second.
function load() {
  loading ??= import("./uplot/uPlot.esm.js").then((module) => {
    UPlot = module.default;
  }).catch(() => {
    loading = null;
  });
}

export function makeCurves() {
  const scale = make("button", "", "Logarithmic");
  scale.type = "button";
  scale.ariaPressed = "false";
  const curves = { element: make("div", "curves"), figures: new Map(), scale, further: make("p", "nothing"), logarithmic: false };
  scale.onclick = () => {
    curves.logarithmic = !curves.logarithmic;
    scale.ariaPressed = String(curves.logarithmic);
    drawAll(curves);
  };
  return curves;
}

export function paintCurves(curves, series) {
  if (!series) return;
  if (!UPlot) {
    load();
  } else if (curves.series !== series || curves.theme !== theme()) {
    curves.series = series;
    drawAll(curves);
  }
}

function drawAll(curves) {
  curves.theme = theme();
  const names = Object.keys(curves.series);
  const shown = new Set(names.slice(0, FIGURES_MAX));
  for (const name of curves.figures.keys()) if (!shown.has(name)) curves.figures.delete(name);
  for (const name of shown) if (!curves.figures.has(name)) curves.figures.set(name, makeFigure(name));
  const figures = [...shown].map((name) => curves.figures.get(name));
  const rest = names.length - figures.length;
  setText(curves.further, `${amount(rest)} further curves are not shown`);
  arrange(curves.element, [
    ...(figures.length ? [curves.scale] : []), ...figures.map(({ element }) => element), ...(rest ? [curves.further] : []),
  ]);
  const style = `${curves.theme} ${curves.logarithmic}`;
  for (const [name, figure] of curves.figures) drawFigure(UPlot, figure, curves.series[name], curves.logarithmic, style);
}
