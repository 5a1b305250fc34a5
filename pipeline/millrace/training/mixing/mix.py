"""Mix loaders by weight, after checking that their batches can be mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millrace.errors import UsageError
from millrace.training.columns import BatchFormat, ColumnPlan, Plan
from millrace.training.loader import TrainingLoader
from millrace.training.mixing.loader_source import LoaderSource
from millrace.training.mixing.mixture import Mixture
from millrace.training.mixing.plan import MixPlan, Part, Stop
from millrace.training.mixing.shares import whole_weights
from millrace.training.order import Tail

_SHARED_OPTIONS = ("global_batch_rows", "rank", "world_size", "format")
"""The options that all loaders of a mixture have in common."""


def mix(loaders: Mapping[TrainingLoader, float], *, stop: str = Stop.FIRST) -> Mixture:
    """Return batches with rows of all loaders, in the proportion of their weights.

    The batch of the mixture has ``global_batch_rows`` of the loaders, which must be equal, and be a multiple of all of
    their lanes. With ``stop="first"`` an epoch ends when the first dataset is used up, with ``"all"`` when each was
    used up at least once; the smaller datasets then go on with their next epochs. A dataset is used up when the same
    number of rows was taken of each lane, so up to lanes - 1 rows are left out. Positions, transforms and tails of
    the loaders have no part in a mixture. Close the mixture; the loaders stay independent of it.

    Raises ``UsageError`` for unlike columns, formats, ranks or batch sizes.
    """
    if not loaders:
        raise UsageError("a mixture needs a loader", hint="mix({loader: 0.7, other: 0.3})")
    _check_loaders(list(loaders))
    weights = whole_weights(list(loaders.values()))
    parts = tuple(
        Part(loader.outline.state.spec.version, weight, loader.options.lanes, min(loader.outline.lane_rows))
        for loader, weight in zip(loaders, weights, strict=True)
    )
    plan = MixPlan(parts, next(iter(loaders)).options.global_batch_rows, _stop(stop))
    return _mixture_type(next(iter(loaders)).options.format)(plan, _sources(list(loaders), plan))


def _mixture_type(format: str) -> type[Mixture]:
    if format != BatchFormat.TORCH:
        return Mixture
    from millrace.training.mixing.torch_mixture import TorchMixture

    return TorchMixture


def _sources(loaders: Sequence[TrainingLoader], plan: MixPlan) -> list[LoaderSource]:
    """Return the sources; a block has about as many rows as a batch takes of its dataset."""
    total = sum(part.weight for part in plan.parts)
    sources = []
    try:
        for loader, part in zip(loaders, plan.parts, strict=True):
            block_rows = -(-plan.global_batch_rows * part.weight // (total * part.lanes))
            sources.append(LoaderSource(loader, min(block_rows, part.lane_rows)))
        _check_columns(sources)
    except BaseException:
        for source in sources:
            source.close()
        raise
    return sources


def _check_loaders(loaders: Sequence[TrainingLoader]) -> None:
    first = loaders[0]
    for loader in loaders:
        version = loader.outline.state.spec.version
        for name in _SHARED_OPTIONS:
            mine, theirs = getattr(first.options, name), getattr(loader.options, name)
            if mine != theirs:
                raise UsageError(
                    f"{first.outline.state.spec.version} has {name} {mine!r}, but {version} has {theirs!r}",
                    hint=f"give the loaders of a mixture the same {name}",
                )
        if loader.options.transform is not None:
            raise UsageError(
                f"the loader of {version} has a transform, and a mixture joins rows before any transform",
                hint="apply the transform to the batches of the mixture",
            )
        if loader.options.tail != Tail.DROP_LAST:
            raise UsageError(
                f"the loader of {version} has tail {str(loader.options.tail)!r}, and the batches of a mixture are full",
                hint="use tail='drop_last' for the loaders of a mixture",
            )


def _check_columns(sources: Sequence[LoaderSource]) -> None:
    first, *others = sources
    for source in others:
        if _columns(source.plans) != _columns(first.plans):
            raise UsageError(
                f"{first.state.spec.version} has the columns {_text(first.plans)}, but "
                f"{source.state.spec.version} has {_text(source.plans)}",
                hint="choose equal columns with columns=, or load the datasets with equal types",
            )


def _columns(plans: Sequence[Plan]) -> dict[str, tuple[Any, ...]]:
    """Return the facts that make rows of two datasets alike, by column."""
    return {
        plan.name: (plan.type, plan.dtype, plan.shape, plan.axes) if isinstance(plan, ColumnPlan) else (plan.type,)
        for plan in plans
    }


def _text(plans: Sequence[Plan]) -> str:
    return ", ".join(f"{plan.name} {plan.type}" for plan in plans)


def _stop(value: str) -> Stop:
    try:
        return Stop(value)
    except ValueError:
        names = " or ".join(repr(str(each)) for each in Stop)
        raise UsageError(f"stop={value!r} does not exist", hint=f"use {names}") from None
