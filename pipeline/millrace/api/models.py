"""Train models by the functions of users, and keep them as versions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millrace.api.loading import Loading
from millrace.api.maintenance import Maintenance
from millrace.api.reading import Reading
from millrace.api.store_dataset import Dataset
from millrace.dataset import Recipe, recipe_of
from millrace.errors import UsageError, VersionNotFoundError
from millrace.load import LoadOptions, LoadReport, RunRecord, make_plan
from millrace.names import new_run_id
from millrace.progress import ProgressTask, fitting, null_task
from millrace.sources import SourceOptions
from millrace.store import Version

if TYPE_CHECKING:
    from millrace.training import ModelOrigin, ModelReport, TrainingFunction

_EVENT_METRICS_BYTES_MAX: Final = 12_000
"""An event of progress has room for a result of 16 kB."""


class Models(Maintenance, Loading, Reading):
    """The part of ``Store`` that trains models."""

    def train(
        self,
        trained: str | TrainingFunction,
        reference: str | None = None,
        *,
        seed: int = 0,
        force: bool = False,
        run_id: str | None = None,
        file: str | Path | None = None,
        task: ProgressTask | None = None,
    ) -> ModelReport:
        """Train a model on a prepared version, and write it as a new version of the dataset ``<name>_model``.

        ``trained`` is the name of a declared training dataset with ``train``, or a function that takes a
        ``TrainingJob`` and returns a ``TrainedModel``. ``reference`` is the version of the training dataset, by default
        the latest; a function needs it. ``file`` is the file of declarations (None: that of the settings). ``task``
        shows the progress.

        The version has the files of the function, ``recipe.json``, ``metrics.json`` and ``report.md``, and its
        ``inputs`` name the data. The tag ``best`` moves to it if the validation score is better than that of the
        version that has the tag. If a version of the same data, function and seed exists, nothing is trained, and
        ``skipped`` is ``unchanged``; with ``force`` it is trained in any case. The report is kept (``run_report``).
        """
        from millrace.training import ModelOrigin, files_of, model_dataset, run_function

        if seed < 0:
            raise UsageError(f"seed is {seed}", hint="use a whole number from 0 on")
        function, name, reference = self._task_of(trained, reference, file)
        model, dataset = model_dataset(name), self.dataset(reference)
        recipe = _recipe_of(dataset)
        self._check_is_model(model)
        origin = ModelOrigin.of(function, dataset.version.reference, seed)
        record = RunRecord(model, run_id or new_run_id(model), "replace")
        earlier = self._same_model(model, origin)
        # An attempt of this run may have been killed between the version and its report.
        is_own = earlier is not None and earlier.run == record.run
        if earlier is not None and (is_own or not force):
            skipped = "" if is_own else "unchanged"
            report = self._model_report(earlier, origin, record.run, skipped=skipped)
        else:
            with self.recorded(record):
                made = run_function(function, dataset, recipe, seed=seed, job=record.run, task=task or null_task())
                load = self._publish_model(files_of(made.files, recipe, made.metrics, made.report), origin, record)
            version = self.version(load.reference)
            report = self._model_report(version, origin, record.run, replicas=load.replicas)
        report = self._finished(report, record)
        if task is not None:
            _report_result(report, task)
        return report

    def _finished(self, report: ModelReport, record: RunRecord) -> ModelReport:
        """Move the tag, add the times, and keep the report."""
        report = self._tagged_if_best(report)
        started = record.started.isoformat(timespec="milliseconds")
        report = replace(report, started=started, seconds=round(record.seconds, 3))
        warning = self._not_kept(report)
        return replace(report, warnings=(*report.warnings, warning)) if warning else report

    def model_files(self, reference: str) -> dict[str, bytes]:
        """Return the files of a model by their paths, such as those of ``late_arrivals_model@best``."""
        from millrace.training import is_model, read_files

        dataset = self.dataset(reference)
        if not is_model(dataset.version.settings):
            raise UsageError(
                f"{dataset.version.reference} is not a model", hint="the model of NAME is in the dataset NAME_model"
            )
        return read_files(dataset)

    def _task_of(
        self, trained: str | TrainingFunction, reference: str | None, file: str | Path | None
    ) -> tuple[TrainingFunction, str, str]:
        """Return the function, the name of the training dataset, and the version to train on."""
        if not isinstance(trained, str):
            if not callable(trained):
                raise UsageError(
                    f"a training is named by text, or given as a function, not as {type(trained).__name__}",
                    hint="give the name of an entry, or a function that takes a TrainingJob",
                )
            if reference is None:
                raise UsageError(
                    "a function was given without the data to train on",
                    hint='give the dataset, as in train(function, "late_arrivals")',
                )
            return trained, reference.partition("@")[0], reference
        function = self._declared_function(trained, file)
        if reference is not None and reference.partition("@")[0] != trained:
            raise UsageError(
                f"{reference} is not a version of {trained}, whose function was asked for",
                hint=f"give {trained}@VERSION, or the function itself in place of the name",
            )
        return function, trained, reference or trained

    def _declared_function(self, name: str, file: str | Path | None) -> TrainingFunction:
        from millrace.declarations import find_training
        from millrace.training import load_function

        entry = find_training(name, self.settings, file=file)
        if entry.trainer is None:
            raise UsageError(
                f"the entry {name!r} of the declared training datasets has no train",
                hint="add train: module:function to the entry, or call store.train with a function",
            )
        return load_function(":".join(entry.trainer), Path(entry.folder))

    def _check_is_model(self, model: str) -> None:
        """Raise ``UsageError`` if the dataset of the model was loaded, and not trained."""
        from millrace.training import is_model

        versions = self.catalogue.versions(model)
        if foreign := next((version for version in versions if not is_model(version.settings)), None):
            raise UsageError(
                f"{foreign.reference} was loaded and is not a model, so no model can be stored as {model}",
                hint=f"delete {model}, or give the training dataset another name",
                dataset=model,
            )

    def _same_model(self, model: str, origin: ModelOrigin) -> Version | None:
        """Return the newest visible version of this origin."""
        same = (version for version in self.catalogue.versions(model) if origin.made(version.settings))
        return max(same, key=lambda version: version.number, default=None)

    def _publish_model(self, files: Mapping[str, bytes], origin: ModelOrigin, record: RunRecord) -> LoadReport:
        """Write the files as a version of the kind bytes; publishing it again is the same version."""
        from millrace.training import write_files

        with tempfile.TemporaryDirectory(prefix="millrace-model-") as folder:
            write_files(files, Path(folder))
            plan = record.plan = make_plan(
                self.catalogue,
                self.settings,
                record.dataset,
                folder,
                LoadOptions(source=SourceOptions(format="bytes")),
                run=record.run,
                one_stream=True,
                shown_as=f"{origin.function} on {origin.data}",
                derived=True,
            )
            if plan.is_done:
                return self.done(plan)
            return self.publish(plan, [self.load_split(plan, None)], settings=origin.settings())

    def _model_report(
        self, version: Version, origin: ModelOrigin, run: str, *, skipped: str = "", replicas: int = 2
    ) -> ModelReport:
        """Return the report of a stored version, without its tag and its times."""
        from millrace.training import ModelReport, file_names

        return ModelReport(
            dataset=version.dataset,
            version=version.label,
            run=run,
            data=origin.data,
            function=origin.function,
            seed=origin.seed,
            metrics=self._stored_metrics(version.reference),
            files=file_names(self.dataset(version.reference)),
            bytes=int(version.source.get("bytes", 0)),
            total_rows=version.rows,
            replicas=replicas,
            skipped=skipped,
        )

    def _stored_metrics(self, reference: str) -> dict[str, float]:
        from millrace.training import METRICS_FILE, read_files

        files = read_files(self.dataset(reference), METRICS_FILE)
        return dict(json.loads(files[METRICS_FILE])) if METRICS_FILE in files else {}

    def _tagged_if_best(self, report: ModelReport) -> ModelReport:
        """Move the tag ``best`` to the version of the report if it is better, and set ``best`` of the report.

        A skipped run does the same: the run before may have been killed between the version and its tag.
        """
        from millrace.training import BEST_TAG, compare

        number, hexpart = next(iter(self.catalogue.tagged(report.dataset, BEST_TAG)), (0, ""))
        best = f"{report.dataset}@{number}-{hexpart}" if hexpart else ""
        if best == report.reference:
            return replace(report, best=True)
        try:
            metrics = self._stored_metrics(best) if best else None
        except VersionNotFoundError:  # the tag of a version that was removed
            metrics = None
        result = compare(report.metrics, metrics, best)
        if result.is_better:
            self.tag(report.reference, BEST_TAG)
        warnings = (*report.warnings, result.warning) if result.warning else report.warnings
        return replace(report, best=result.is_better, warnings=warnings)


def _recipe_of(dataset: Dataset) -> Recipe:
    recipe = recipe_of(dataset.schema)
    if recipe is None:
        raise UsageError(
            f"{dataset.version.reference} has no recipe: it was not prepared as training data",
            hint="declare it in the file of training datasets, and run millrace prepare",
            dataset=dataset.version.dataset,
        )
    return recipe


def _report_result(report: ModelReport, task: ProgressTask) -> None:
    """Report the version and its metrics as the result of the task."""
    task.result(
        kind="model",
        dataset=report.dataset,
        version=report.version,
        inputs={"data": report.data},
        metrics=fitting(report.metrics, _EVENT_METRICS_BYTES_MAX),
        best=report.best,
        skipped=report.skipped,
    )
    if report.skipped:
        task.skip(f"a model of {report.data} with this function and seed exists: {report.reference}")
