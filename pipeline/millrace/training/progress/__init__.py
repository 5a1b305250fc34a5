"""Report a training job to Kafka, one attempt of the task ``train`` for each rank, without ever delaying its loop."""

from millrace.training.progress.facts import FactsSource, TrainingFacts
from millrace.training.progress.loop import LoopCounter
from millrace.training.progress.reporter import TrainingProgress
from millrace.training.progress.wait_times import WaitTimes

__all__ = ["FactsSource", "LoopCounter", "TrainingFacts", "TrainingProgress", "WaitTimes"]
