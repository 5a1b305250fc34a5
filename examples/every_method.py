"""One example for each public method of ``Store`` and ``Dataset``. ``docs/python.md`` shows each below its method.

The whole file runs from top to bottom in an empty folder, against a running stack.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from millrace import connect, progress
from millrace.api import Store
from millrace.errors import BadRowsError
from millrace.load import LoadOptions, RunRecord
from millrace.settings import load_settings
from millrace.sources import BadRowBudget, SourceOptions
from millrace.training import TrainedModel, TrainingJob

Path("flights.csv").write_text("carrier,month,delay\nUA,1,3.5\nB6,1,\nUA,7,12.0\n")
Path("more.csv").write_text("carrier,month,delay\nAA,8,1.5\n")

# == Store.init
Store.init(load_settings())  # the same as: millrace init

# == Store.connect
store = Store.connect(load_settings())  # millrace.connect() does the same with fewer words
store.close()

# == Store.close
store = connect()
store.close()  # or use the store as a context manager: with connect() as store: ...
store = connect()

# == Store.load
report = store.load("flights", "flights.csv")
assert report.rows == 3
store.load("flights", "more.csv", LoadOptions(mode="append"))
store.load("prices", pa.table({"id": [1, 2], "price": [1.5, 2.5]}))  # Arrow data, data frames, relations of DuckDB

# == Store.ingest
Path("sources.yaml").write_text("sources:\n  daily: {uri: flights.csv, columns: [carrier, delay]}\n")
with Store.connect(load_settings(sources={"file": "sources.yaml", "roots": ["."]})) as declared:
    assert declared.ingest("daily").rows == 3  # the same as: millrace ingest daily
    assert declared.ingest("daily").skipped == "unchanged"

# == Store.replay
Path("delays.csv").write_text("carrier,delay\nUA,3\nB6,late\nAA,4\n")
types = SourceOptions(column_types=(("delay", "int64"),))
delays = store.load("delays", "delays.csv", LoadOptions(source=types, bad_rows=BadRowBudget(rows=1)))
assert (delays.rows, delays.rejected) == (2, 1)
try:
    store.replay(f"delays@{delays.version}")
except BadRowsError as error:
    print(error)  # "late" is no number yet: mend the file, or replay with another type where the column allows it

# == Store.prune_rejects
store.prune_rejects(dry_run=True)  # rejects of failed loads that are older than 90 days

# == Store.datasets
names = [info.name for info in store.datasets("fl*")]
assert "flights" in names

# == Store.versions
numbers = [version.number for version in store.versions("flights")]
assert numbers == [2, 1]

# == Store.version
version = store.version("flights@1")
assert version.rows == 3

# == Store.dataset
flights = store.dataset(
    "flights"
)  # the latest version; also "flights@1", "flights@nightly", "flights@2026-11-22T10:00"

# == Store.unchanged
incremental = LoadOptions(mode="incremental")
store.load("new_files", "flights.csv", incremental)
nothing = store.plan("new_files", "flights.csv", incremental)
assert nothing.unchanged
assert store.unchanged(nothing).skipped == "unchanged"

# == Store.done
assert nothing.is_done
assert store.done(nothing).skipped == "unchanged"

# == Store.report
assert store.report(version).rows == 3

# == Store.run_report
assert store.run_report(report.run).rows == 3

# == Store.has_succeeded
assert store.has_succeeded("flights", report.run)  # its report is kept, and it made a version

# == Store.last_run
run = store.last_run("flights")
assert run is not None
assert (run.state, run.rows) == ("succeeded", 4)

# == Store.keep_report
store.keep_report(report)  # the report of a load that publish() returned; load() does it itself

# == Store.recorded
with store.recorded(RunRecord("flights", "nightly-7", "replace")):  # an error in the block is kept as a report
    pass

# == Store.tag
store.tag("flights@1", "nightly")

# == Store.tags
assert store.tags("flights") == {"nightly": version.label}

# == Store.untag
store.untag("flights", "nightly")

# == Store.diff
difference = store.diff("flights@1", "flights@2")
print(difference.to_json())

# == Store.plan
plan = store.plan("split_load", ["flights.csv", "more.csv"])
print(plan.label, len(plan.source.splits))

# == Store.load_split
results = [store.load_split(plan, split) for split in range(len(plan.source.splits))]  # each may run in another process

# == Store.verify_split
assert all(store.verify_split(plan, result).ok for result in results)

# == Store.publish
report = store.publish(plan, results)
assert report.rows == 4

# == Store.published
again = store.plan("split_load", ["flights.csv", "more.csv"], run=plan.run)
assert again.published
assert store.published(again).version == report.version

# == Store.report_outcome
with progress.task(progress.TaskIdentity("python", plan.run, "publish"), kind="publish", sinks=[]) as task:
    store.report_outcome(report, task)  # the version, its rows, bytes and columns become part of the task's events

# == Store.unfinished
half = store.plan("killed", "flights.csv")
store.load_split(half, None)  # a process that is killed here leaves chunks that no version names
run = store.unfinished("killed", "flights.csv", LoadOptions())
assert run == half.run
store.load("killed", "flights.csv", run=run)  # resumes: the chunks that were written are verified and kept

# == Store.verify
assert store.verify("flights", each_replica=True).ok

# == Store.under_replicated
assert store.under_replicated(version) == []

# == Store.under_replicated_of
assert store.under_replicated_of("flights") == []

# == Store.repair
assert store.repair("flights").ok

# == Store.cache
if store.cache is not None:
    print(store.cache.ping())

# == Store.warm
if store.cache is not None:
    print(store.warm("flights").complete)
    print(store.warm("flights", columns=["delay"], form="raw").share)

# == Store.warm_opened
if store.cache is not None:
    print(store.warm_opened(1_000_000_000).summary)

# == Dataset.name
assert flights.name == "flights"

# == Dataset.schema
assert flights.schema.names == ["carrier", "month", "delay"]

# == Dataset.recipe
assert flights.recipe is None  # only versions of training data that were prepared have one

# == Dataset.splits
assert flights.splits == {}  # of such a version, for example {"train": range(0, 12), "test": range(12, 15)}

# == Dataset.chunk_source
source = flights.chunk_source(["delay"])
with source.borrow(next(flights.refs())) as batch:  # its memory is used again after the block
    assert batch.schema.names == ["delay"]

# == Dataset.degraded
assert not flights.degraded

# == Dataset.count_rows
assert flights.count_rows() == 4
assert flights.count_rows("month = 1") == 2

# == Dataset.head
print(flights.head(2))

# == Dataset.to_table
table = flights.to_table(columns=["carrier", "delay"], filter=pc.field("month") == 1)
assert table.num_rows == 2

# == Dataset.to_batches
rows = 0
for batch in flights.to_batches(filter="carrier in ('UA', 'AA')"):  # memory does not grow with the dataset
    rows += batch.num_rows
assert rows == 3

# == Dataset.to_polars
assert flights.to_polars().height == 4

# == Dataset.to_pandas
try:
    frame = flights.to_pandas(columns=["carrier"])
except Exception as error:  # pandas is not installed
    print(error)

# == Dataset.refs
assert sum(ref.rows for ref in flights.refs()) == 4

# == Dataset.known_pages
assert sum(page.table.num_rows for page in flights.known_pages()) == flights.version.chunks

# == Dataset.used_by
with flights.used_by("job-7"):  # the version is neither deleted nor evicted from the cache meanwhile
    assert flights.head(1).num_rows == 1

# == Dataset.training
with flights.training(global_batch_rows=2, lanes=2, columns=["month"], seed=7) as loader:
    for batch in loader:  # one epoch in shuffled order; iterate again for the next one
        print(batch["month"])
    state = loader.state_dict()

# == Store.plan_epoch
cost = store.plan_epoch("flights", columns=["month"], global_batch_rows=2, lanes=2)  # the same as: millrace plan
print(cost.hit_ratio, cost.memory_bytes, cost.cassandra_bytes, cost.first_batch_s, cost.shuffle_quality)

# == Store.resume
with store.resume(state, global_batch_rows=4, columns=["month"], rank=0, world_size=2) as loader:
    assert len(list(loader)) == 1


# == Store.prepare
hours = [number % 24 for number in range(400)]
store.load("trips", pa.table({"id": list(range(400)), "hour": hours, "delay": [hour * 2.0 for hour in hours]}))
declaration = {
    "inputs": {"trips": "trips"},
    "query": "SELECT id, hour::FLOAT AS hour FROM trips",
    "key": "id",
    "after": ["delay"],
    "target": "delay > 30",
    "splits": {"train": 0.7, "val": 0.3},
}
prepared = store.prepare("late", entry=declaration)  # a declared one by its name: store.prepare("late_arrivals")
assert (prepared.rows, prepared.skipped) == (400, "")
assert store.prepare("late", entry=declaration).skipped == "unchanged"

# == Store.training_entry
Path("training.yaml").write_text(json.dumps({"training": {"late": declaration}}))  # JSON is YAML
entry = store.training_entry("late", file="training.yaml")
assert entry.datasets == ("trips",)

# == Store.plan_preparation
preparation = store.plan_preparation("late", entry=entry, seed=8)  # an Airflow task: plans are plain JSON
assert preparation.inputs == {"trips": store.version("trips").reference}
assert not preparation.is_done

# == Store.preview_preparation
preview = store.preview_preparation(preparation, head=3)  # the same as: millrace prepare NAME --dry-run --head 3
assert preview.columns == (("id", "int64"), ("hour", "float"))

# == Store.write_preparation
written = store.write_preparation(preparation)  # nothing is visible yet

# == Store.publish_preparation
assert store.publish_preparation(preparation, written).rows == 400

# == Store.prepared_before
again = store.plan_preparation("late", entry=entry, seed=8)
assert again.is_done
assert store.prepared_before(again).skipped == "unchanged"

# == Dataset.recipe
recipe = store.dataset("late").recipe
assert recipe is not None
print(recipe.inputs, recipe.splits, recipe.statistics["hour"])

# == Dataset.splits
assert list(store.dataset("late").splits) == ["train", "val"]

# == Dataset.read_cost
cost_of_hour = store.dataset("late").read_cost(["hour"])
assert cost_of_hour.tiles < cost_of_hour.tiles_of_all


# == Store.train
def mean_of_late(job: TrainingJob) -> TrainedModel:
    with job.loader("train", global_batch_rows=8, lanes=1, columns=["hour", "target"]) as loader:
        late = np.concatenate([batch["hour"][batch["target"]] for batch in loader])
    return TrainedModel(metrics={"val_score": late.mean()}, files={"mean.txt": str(late.mean()).encode()})


model = store.train(mean_of_late, "late", seed=7)  # a declared one by its name: store.train("late_arrivals")
assert (model.dataset, model.best) == ("late_model", True)
assert store.train(mean_of_late, "late", seed=7).skipped == "unchanged"

# == Store.model_files
assert list(store.model_files("late_model@best")) == ["mean.txt", "metrics.json", "recipe.json", "report.md"]

# == Dataset.__arrow_c_stream__
assert pl.DataFrame(flights).height == 4  # polars, DuckDB, pandas and pyarrow read a dataset by this method

# == Store.lineage
print(store.lineage("flights").text())  # the same as: millrace lineage flights

# == Store.delete
store.delete("flights@1", dry_run=True)  # reports the effect, deletes nothing
store.delete("flights@1")

# == Store.undelete
store.undelete("flights@1")

# == Store.prune
store.prune("flights", keep=1)

# == Store.fsck
print(store.fsck().to_json())

# == end
store.close()
