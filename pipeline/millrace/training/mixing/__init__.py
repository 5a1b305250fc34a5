"""Mix datasets by weight: how many rows of each are in a batch depends on the batch alone."""

from millrace.training.mixing.mix import mix
from millrace.training.mixing.mixture import Mixture
from millrace.training.mixing.mixture_state import MixtureState
from millrace.training.mixing.plan import Stop

__all__ = ["Mixture", "MixtureState", "Stop", "mix"]
