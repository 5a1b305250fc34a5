"""Run SQL by an embedded DuckDB in a scratch folder, with bounded memory and without access to anything else."""

from millrace.training.prepare.engine.engine import INPUTS, WORK, Engine
from millrace.training.prepare.engine.estimate import ScratchEstimate, estimate_scratch
from millrace.training.prepare.engine.scratch import Scratch
from millrace.training.prepare.engine.sql import literal, quoted

__all__ = ["INPUTS", "WORK", "Engine", "Scratch", "ScratchEstimate", "estimate_scratch", "literal", "quoted"]
