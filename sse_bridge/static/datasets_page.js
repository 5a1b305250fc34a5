// The page of all datasets.

import { announce } from "./announcements.js";
import { arrange, make } from "./dom.js";
import { makeTable, paintTable } from "./dataset_table.js";
import { datasetsOf } from "./datasets.js";
import { startLive } from "./live.js";
import { RunStates } from "./run_states.js";

const main = document.querySelector("main");
const title = document.title;
const runStates = new RunStates();
const table = makeTable();
const nothing = make("p", "nothing", "No load was reported yet.");

function paint(now, isKnown) {
  const datasets = datasetsOf(runStates);
  paintTable(table, datasets, now);
  if (isKnown) {
    arrange(main, [datasets.length ? table.section : nothing]);
    announce(datasets.map(({ run }) => run), runStates);
  }
  const failed = datasets.filter(({ state }) => state === "failed" || state === "lost").length;
  const late = datasets.filter(({ isLate }) => isLate).length;
  const text = [...(failed ? [`${failed} failed`] : []), ...(late ? [`${late} late`] : []), title].join(" · ");
  if (document.title !== text) document.title = text;
}

startLive({ selection: {}, runStates, paint });
