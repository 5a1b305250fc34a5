"""Prepare training data: join declared inputs by SQL, and write an immutable version with splits and a recipe."""

from millrace.training.prepare.entry import TARGET, CutSplits, Expectations, HashSplits, Preparation

__all__ = ["TARGET", "CutSplits", "Expectations", "HashSplits", "Preparation"]
