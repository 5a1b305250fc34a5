// The training curves of a task: one plot for each metric, redrawn when a new snapshot of them arrives.

import { arrange, make, setText } from "./dom.js";
import { drawFigure, makeFigure } from "./plot.js";
import { amount } from "./words.js";

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
  const place = { element: make("div", "curves"), figures: new Map(), scale, further: make("p", "nothing"), logarithmic: false };
  scale.onclick = () => {
    place.logarithmic = !place.logarithmic;
    scale.ariaPressed = String(place.logarithmic);
    drawAll(place);
  };
  return place;
}

export function paintCurves(place, series) {
  if (!series) return;
  if (!UPlot) {
    load();
  } else if (place.series !== series || place.theme !== theme()) {
    place.series = series;
    drawAll(place);
  }
}

function drawAll(place) {
  place.theme = theme();
  const names = Object.keys(place.series);
  const shown = new Set(names.slice(0, FIGURES_MAX));
  for (const name of place.figures.keys()) if (!shown.has(name)) place.figures.delete(name);
  for (const name of shown) if (!place.figures.has(name)) place.figures.set(name, makeFigure(name));
  const figures = [...shown].map((name) => place.figures.get(name));
  const rest = names.length - figures.length;
  setText(place.further, `${amount(rest)} further curves are not shown`);
  arrange(place.element, [
    ...(figures.length ? [place.scale] : []), ...figures.map(({ element }) => element), ...(rest ? [place.further] : []),
  ]);
  const look = `${place.theme} ${place.logarithmic}`;
  for (const [name, figure] of place.figures) drawFigure(UPlot, figure, place.series[name], place.logarithmic, look);
}
