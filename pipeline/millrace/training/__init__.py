"""Prepare training data, and read it: in deterministic, elastic order, with a memory bound in bytes."""

from millrace.training.iteration import BatchIterator
from millrace.training.loader import TrainingLoader
from millrace.training.making import make_loader
from millrace.training.mixing import Mixture, MixtureState, mix
from millrace.training.options import LoaderOptions
from millrace.training.planning import EpochCost, epoch_cost
from millrace.training.prepare import (
    TARGET,
    CutSplits,
    Expectations,
    HashSplits,
    Preparation,
    PreparedData,
    PreparePlan,
    Preview,
    make_prepare_plan,
    prepare_rows,
    preview,
    publish_prepared,
    unchanged_report,
)
from millrace.training.progress import TrainingFacts, TrainingProgress, WaitTimes
from millrace.training.state import LoaderState

__all__ = [
    "BatchIterator",
    "CutSplits",
    "EpochCost",
    "Expectations",
    "HashSplits",
    "LoaderOptions",
    "LoaderState",
    "Mixture",
    "MixtureState",
    "Preparation",
    "PreparePlan",
    "PreparedData",
    "Preview",
    "TARGET",
    "TrainingFacts",
    "TrainingLoader",
    "TrainingProgress",
    "WaitTimes",
    "epoch_cost",
    "make_loader",
    "make_prepare_plan",
    "mix",
    "prepare_rows",
    "preview",
    "publish_prepared",
    "unchanged_report",
]
