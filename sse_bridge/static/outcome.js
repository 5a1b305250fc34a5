// The version that a load made, as a table: the same rules as sse_bridge/outcome.py.

import { headRow, make, setText } from "./dom.js";
import { amount } from "./formatting.js";

export function factsOf(result) {
  const { rows, total_rows: totalRows = rows } = result;
  const lines = [["Version", `${result.dataset ?? ""}@${result.version}`]];
  if (result.kind !== "bytes") {
    const added = ["append", "incremental"].includes(result.mode) || totalRows !== rows;
    lines.push(...(added ? [["Rows added", amount(rows)], ["Rows in the version", amount(totalRows)]] : [["Rows", amount(rows)]]));
  }
  for (const [name, label] of [["raw_bytes", "Raw size"], ["stored_bytes", "Stored size"]]) {
    if (name in result) lines.push([label, amount(result[name], "bytes")]);
  }
  return lines;
}

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
