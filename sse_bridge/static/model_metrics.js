// The metrics of a model, each beside that of its baseline: the rules of pipeline/millrace/progress/model_metrics.py.

import { significant } from "./formatting.js";

const BASELINE = "baseline_";

export function metricLines(metrics) {
  const isBaseline = (name) => name.startsWith(BASELINE) && Object.hasOwn(metrics, name.slice(BASELINE.length));
  return Object.entries(metrics).filter(([name]) => !isBaseline(name)).map(([name, value]) => {
    const baseline = metrics[BASELINE + name];
    const hasBaseline = baseline !== undefined;
    return { name, hasBaseline, text: significant(value) + (hasBaseline ? ` (baseline ${significant(baseline)})` : "") };
  });
}
