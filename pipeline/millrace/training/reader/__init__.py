"""Read chunks in several threads into the batches of a rank, within a bound in bytes."""

from millrace.training.reader.budget import Budget, Demand, budget_of, demand_of, read_threads
from millrace.training.reader.epochs import EpochPlans
from millrace.training.reader.fragment_reader import Source
from millrace.training.reader.pipeline import STALLED_S, Pipeline, RankPlan
from millrace.training.reader.places import RingShape
from millrace.training.reader.reading import Reading
from millrace.training.reader.transforms import AHEAD, transformed

__all__ = [
    "AHEAD",
    "Budget",
    "Demand",
    "EpochPlans",
    "Pipeline",
    "RankPlan",
    "Reading",
    "RingShape",
    "STALLED_S",
    "Source",
    "budget_of",
    "demand_of",
    "read_threads",
    "transformed",
]
