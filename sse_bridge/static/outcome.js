// The version or model that a run made, as a table: the same rules as sse_bridge/outcome.py.

import { headRow, make, setText } from "./dom.js";
import { amount, clean } from "./formatting.js";
import { metricLines } from "./model_metrics.js";

export function factsOf(result) {
  const lines = result.kind === "model"
    ? [...metricLines(result.metrics ?? {}).map(({ name, text }) => [name, text]), ...tagLine(result)]
    : [...rowLines(result), ...preparedLines(result), ...sizeLines(result)];
  const all = [["Version", `${result.dataset ?? ""}@${result.version}`], ...lines, ...originLine(result)];
  return all.map(([label, value]) => [clean(label), clean(value)]);
}

function rowLines({ kind, mode, rows, total_rows: totalRows = rows, split_rows: splitRows }) {
  if (kind === "bytes") return [];
  if (splitRows) return [["Rows", amount(totalRows)]];
  const isAdded = ["append", "incremental"].includes(mode) || totalRows !== rows;
  return isAdded ? [["Rows added", amount(rows)], ["Rows in the version", amount(totalRows)]] : [["Rows", amount(rows)]];
}

// The rows of each split and its classes, and the rows of the main input that were dropped.
function preparedLines({ split_rows: splits = {}, class_rows: classes = {}, rows_in: rowsIn, dropped = {} }) {
  return [
    ...Object.entries(splits).map(([name, rows]) => [`Rows in ${name}`, amount(rows) + classesOf(classes[name] ?? {})]),
    ...(rowsIn === undefined ? [] : [["Rows of the main input", amount(rowsIn)]]),
    ...Object.entries(dropped).map(([reason, rows]) => [`Dropped: ${reason}`, amount(rows)]),
  ];
}

function classesOf(rows) {
  const texts = Object.entries(rows).map(([name, count]) => `${name} ${amount(count)}`);
  return texts.length ? ` (${texts.join(", ")})` : "";
}

function sizeLines(result) {
  if (result.skipped) return []; // the sizes count what this run has written
  const sizes = [["raw_bytes", "Raw size"], ["stored_bytes", "Stored size"]];
  return sizes.filter(([name]) => name in result).map(([name, label]) => [label, amount(result[name], "bytes")]);
}

const tagLine = ({ best }) =>
  (best === undefined ? [] : [["Tag", best ? "best" : "none: it is not better than the best model"]]);

function originLine(result) {
  const inputs = originsOf(result);
  return inputs.length ? [["Made from", inputs.join(", ")]] : [];
}

// The versions that a version was made from, such as flights@12-3fa9c1.
export const originsOf = ({ inputs = {} }) => [...new Set(Object.values(inputs))];

export function furtherColumns({ columns = [], columns_total: total }) {
  const further = Number.isInteger(total) ? total - columns.length : 0;
  return further > 0 ? `${amount(further)} further columns` : "";
}

function tableOf(caption, head, lines) {
  const rows = lines.map(([name, value]) => {
    const first = make("th", "", name);
    first.scope = "row";
    return make("tr", "", first, make("td", "", value));
  });
  const table = make("table", "outcome", make("caption", "", caption));
  if (head) table.append(headRow(...head));
  table.append(make("tbody", "", ...rows));
  return table;
}

// Fills `outcome` again when the result has changed.
export function paintOutcome(outcome, result) {
  if (outcome.result === result) return;
  outcome.result = result;
  outcome.element.replaceChildren();
  if (!result) return;
  outcome.element.append(tableOf("Result", null, factsOf(result)));
  if (!result.columns?.length) return;
  const further = furtherColumns(result);
  const columns = make("div", "columns", tableOf("Columns", ["Name", "Type"], result.columns));
  columns.tabIndex = 0; // a scrolling element must be reachable by keyboard
  columns.role = "group";
  columns.ariaLabel = "Columns and their types";
  if (further) columns.append(make("p", "nothing", further));
  outcome.element.append(columns);
}

// Fills `element` with a table of label and value of each line; only values that changed are written.
export function paintLines(element, caption, lines) {
  const labels = JSON.stringify([caption, lines.map(([label]) => label)]);
  if (element.dataset.labels !== labels) {
    element.dataset.labels = labels;
    element.replaceChildren(...(lines.length ? [tableOf(caption, null, lines)] : []));
  }
  element.querySelectorAll("td").forEach((cell, index) => setText(cell, lines[index][1]));
}
