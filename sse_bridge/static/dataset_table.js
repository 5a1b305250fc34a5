// The table of datasets: a filter by name, columns that sort, and one row for each dataset with its origins below it.

import { arrange, make, path, setClass, setState, setText } from "./dom.js";
import { arranged, datasetIn } from "./datasets.js";
import { amount, clock, duration } from "./formatting.js";

const COLUMNS = [["Dataset", "name"], ["State", "state"], ["Version", null], ["Rows", "rows"], ["Rejects", "rejected"],
  ["Age", "age"], ["Last run", "run"]];
const FAILED = new Set(["failed", "lost", "cancelled"]);

export function makeTable() {
  const table = { rows: new Map(), datasets: [], known: new Set(), now: 0, text: "", order: "name", isReversed: false };
  table.filter = make("input");
  table.filter.type = "search";
  table.filter.id = "filter";
  table.filter.autocomplete = "off";
  const label = make("label", "", "Filter by name");
  label.htmlFor = "filter";
  table.count = make("span", "sum");
  table.body = make("tbody");
  table.heads = COLUMNS.map(([title, order]) => makeHead(table, title, order));
  const head = make("thead", "", make("tr", "", ...table.heads.map(({ th }) => th)));
  const tools = make("div", "filter", label, table.filter, table.count);
  table.empty = make("p", "nothing", "No dataset has such a name.");
  table.section = make("section", "run", tools, make("table", "datasets", head, table.body), table.empty);
  table.filter.oninput = () => {
    table.text = table.filter.value;
    show(table);
  };
  return table;
}

function makeHead(table, title, order) {
  const th = make("th");
  th.scope = "col";
  if (order === null) {
    th.append(title);
    return { th, order };
  }
  const button = make("button", "", title);
  button.type = "button";
  button.onclick = () => {
    table.isReversed = table.order === order && !table.isReversed;
    table.order = order;
    show(table);
  };
  th.append(button);
  return { th, order };
}

// Paints the datasets, also after the filter or the order has changed.
export function paintTable(table, datasets, now) {
  table.datasets = datasets;
  table.now = now;
  table.known = new Set(datasets.map(({ name }) => name));
  for (const name of table.rows.keys()) if (!table.known.has(name)) table.rows.delete(name);
  show(table);
}

function show(table) {
  const shown = arranged(table.datasets, table);
  arrange(table.body, shown.flatMap((dataset) => rowsOf(table, dataset)));
  for (const { th, order } of table.heads) {
    const sort = order === null || order !== table.order ? null : table.isReversed ? "descending" : "ascending";
    if (sort === null) th.removeAttribute("aria-sort");
    else if (th.getAttribute("aria-sort") !== sort) th.setAttribute("aria-sort", sort);
  }
  const all = amount(table.datasets.length);
  setText(table.count, shown.length === table.datasets.length ? `${all} datasets` : `${amount(shown.length)} of ${all} datasets`);
  table.empty.hidden = shown.length > 0;
}

function rowsOf(table, dataset) {
  if (!table.rows.has(dataset.name)) table.rows.set(dataset.name, makeRow(dataset.name));
  const row = table.rows.get(dataset.name);
  paintRow(row, dataset, table.now);
  paintLineage(row.lineage, dataset, table);
  return dataset.madeFrom.length || dataset.madeInto.length ? [row.tr, row.lineage.tr] : [row.tr];
}

function makeRow(name) {
  const row = { state: make("span", "state"), note: make("small"), late: make("span", "state late"), link: make("a") };
  const head = make("th", "", name);
  head.scope = "row";
  for (const [title, cell] of [["Version", "version"], ["Rows", "rows"], ["Rejects", "rejected"], ["Age", "age"]]) {
    row[cell] = make("td", "number");
    row[cell].dataset.label = title;
  }
  row.started = make("span", "sum");
  row.error = make("div", "error");
  const run = make("td", "last", row.link, " ", row.started, row.error);
  const state = make("td", "", row.state, " ", row.note, " ", row.late);
  row.tr = make("tr", "", head, state, row.version, row.rows, row.rejected, row.age, run);
  row.tr.id = anchorOf(name);
  row.lineage = makeLineage(name);
  return row;
}

const anchorOf = (name) => `dataset-${name}`;

// The row below that of a dataset: the versions that its newest version was made from, and those made from the dataset.
function makeLineage(name) {
  const list = make("ul", "lineage");
  list.ariaLabel = `Lineage of ${name}`;
  const cell = make("td", "", list);
  cell.colSpan = COLUMNS.length;
  return { tr: make("tr", "more", cell), list, shown: "" };
}

function paintLineage(lineage, { madeFrom, madeInto }, table) {
  const isKnown = (reference) => table.known.has(datasetIn(reference));
  const shown = JSON.stringify([madeFrom, madeInto, [...madeFrom, ...madeInto].map(isKnown)]);
  if (lineage.shown === shown) return;
  lineage.shown = shown;
  const line = (text, references) => make("li", "", text, ...references.flatMap((reference, index) => [
    index ? ", " : " ", isKnown(reference) ? linkTo(reference, table) : reference,
  ]));
  lineage.list.replaceChildren(
    ...(madeFrom.length ? [line("made from", madeFrom)] : []), ...(madeInto.length ? [line("made into", madeInto)] : []),
  );
}

// A link to the row of a dataset, which the filter may hide.
function linkTo(reference, table) {
  const link = make("a", "", reference);
  link.href = `#${encodeURIComponent(anchorOf(datasetIn(reference)))}`;
  link.onclick = () => {
    table.filter.value = table.text = "";
    show(table);
  };
  return link;
}

const COMPARED_FIELDS = ["view", "state", "note", "isLate", "version", "rows", "rejected"];

// Without seconds from one minute on: otherwise a thousand texts change each second.
const ageText = (seconds) =>
  (seconds < 60 || seconds >= 3600 ? duration(seconds) : `${Math.floor(seconds / 60)} min`);

function paintRow(row, dataset, now) {
  const age = dataset.made === null ? "" : ageText((now - dataset.made) / 1000);
  setText(row.age, age && dataset.isOlder ? `over ${age}` : age);
  if (row.dataset && COMPARED_FIELDS.every((name) => row.dataset[name] === dataset[name])) return;
  row.dataset = dataset;
  const { run, view } = dataset;
  setState(row.state, dataset.state);
  setText(row.note, dataset.note);
  setText(row.late, dataset.isLate ? "late" : "");
  row.late.hidden = !dataset.isLate;
  setClass(row.tr, dataset.isLate ? `${dataset.state} late` : dataset.state);
  setText(row.version, dataset.version ?? "");
  setText(row.rows, amount(dataset.rows));
  setText(row.rejected, amount(dataset.rejected));
  setClass(row.rejected, dataset.rejected ? "number rejected" : "number");
  setText(row.link, `${run.dag_id} ${run.run_id}`);
  row.link.href = path(run.dag_id, run.run_id);
  setText(row.started, Number.isFinite(dataset.started) ? clock(dataset.started, now) : "");
  setText(row.error, FAILED.has(dataset.state) ? view.headline : "");
}
