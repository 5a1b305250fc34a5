"""Continue the read of a training job."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from millrace.api.reading import Reading
from millrace.cache import Form, value_cost_bytes
from millrace.errors import UsageError, VersionNotFoundError

if TYPE_CHECKING:
    from millrace.training import EpochCost, LoaderState, Mixture, MixtureState, TrainingLoader

_IN_STATE: Final = ("split", "seed", "lanes", "shuffle", "window_chunks", "tail")


class Training(Reading):
    """The part of ``Store`` that plans and resumes training jobs."""

    def plan_epoch(
        self, reference: str, *, cache_bytes: int = 0, form: str = "stored", world_size: int = 1, **options: Any
    ) -> EpochCost:
        """Return what an epoch of training costs: hit ratio, memory, bytes from Cassandra, time to the first batch.

        ``cache_bytes`` is the memory of Redis for this dataset, in the given form. ``options`` are those of
        ``Dataset.training``. At most 32 chunks are read, or one of each lane, up to 5 times, to measure the time.
        """
        from millrace.training import LoaderOptions, epoch_cost

        # The allocator of this Redis decides how much memory a value takes.
        room = None if self.cache is None else self.cache.room()
        return epoch_cost(
            self.dataset(reference),
            LoaderOptions(**options),
            world_size=world_size,
            cache_bytes=cache_bytes,
            form=Form(form),
            value_cost=value_cost_bytes if room is None else room.cost_bytes,
        )

    def resume(self, state: Mapping[str, Any], **options: Any) -> TrainingLoader | Mixture:
        """Return a loader at the position of a state, over the version of the state; a mixture for that of a mixture.

        ``options`` are those of ``Dataset.training`` that the state does not hold: ``global_batch_rows``, ``rank``,
        ``world_size``, ``columns`` and so on; those of a mixture hold for all of its datasets. Raises ``UsageError``
        for an option that the state holds, and ``VersionNotFoundError`` if a version was deleted.
        """
        from millrace.training import LoaderState, MixtureState

        for name in _IN_STATE:
            if name in options:
                raise UsageError(f"resume() takes {name} from the state", hint=f"leave out {name}=")
        if MixtureState.is_one(state):
            resumed: TrainingLoader | Mixture = self._mixture_of(MixtureState.from_json(state), options)
        else:
            resumed = self._loader_of(LoaderState.from_json(state), options)
        try:
            resumed.load_state_dict(state)
        except BaseException:
            resumed.close()
            raise
        return resumed

    def _mixture_of(self, state: MixtureState, options: Mapping[str, Any]) -> Mixture:
        """Return the mixture of a state; it has loaders of its own, so those that it is made of are closed."""
        from millrace.training import mix

        with ExitStack() as stack:
            loaders = [stack.enter_context(self._loader_of(dataset, options)) for dataset in state.datasets]
            return mix(dict(zip(loaders, state.weights, strict=True)), stop=state.stop)

    def _loader_of(self, state: LoaderState, options: Mapping[str, Any]) -> TrainingLoader:
        spec = state.spec
        try:
            dataset = self.dataset(spec.version)
        except VersionNotFoundError as error:
            raise VersionNotFoundError(
                f"the state is one of {spec.version}, which was deleted or pruned: {error.message}",
                hint="train from the beginning on another version; tag the version of a job that must be resumable",
                **error.context,
            ) from error
        return dataset.training(
            split=spec.split,
            seed=spec.seed,
            lanes=spec.lanes,
            shuffle=spec.shuffle,
            window_chunks=spec.window_chunks,
            tail=state.tail,
            **options,
        )
