"""The arguments of `simulate`, and what follows from them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from fedjax_rec.base import CohortSampler, FederatedAlgorithm, Key, Part, PyTree, ServerState
from fedjax_rec.data import FederatedData
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import Payload
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.footprint import initial_shapes
from fedjax_rec.simulation.identity import Facts, identity_of, terms_of
from fedjax_rec.simulation.loggers import OpenLogger
from fedjax_rec.simulation.plans import (
    CheckpointPlan,
    EarlyStop,
    EvaluationPlan,
    PrivacyPlan,
    Report,
    protocol_of,
)
from fedjax_rec.simulation.promise import Promise
from fedjax_rec.simulation.settings import settings_text
from fedjax_rec.simulation.start import Start
from fedjax_rec.simulation.storage import FolderStorage, MemoryStorage, Storage


@dataclass(frozen=True)
class Asked:
    """The arguments of `simulate`."""

    algorithm: FederatedAlgorithm
    data: FederatedData
    key: Key
    rounds: int
    sampler: CohortSampler
    evaluation: EvaluationPlan
    stop: EarlyStop | None
    checkpoint: CheckpointPlan
    payload: Payload
    output: Path | None
    resume: bool
    execution: Execution
    privacy: PrivacyPlan
    start: Start | None
    report: Callable[[Report], None]
    notice: Callable[[str], None]
    config: str
    plugins: Mapping[str, str]
    loggers: Sequence[OpenLogger]

    @property
    def promise(self) -> Promise:
        """What its noise is worth."""
        aggregate, event = self.algorithm.aggregate, self.sampler.event
        is_given = self.start is not None
        return Promise(self.privacy, aggregate, event, self.stop, self.payload, is_given)

    @property
    def keeps_per_client(self) -> bool:
        """Whether clients' own metrics are written: of a run with noise, where it is asked for."""
        return not self.algorithm.aggregate.mechanisms or self.privacy.keep_per_client

    @property
    def protocol(self) -> dict[str, Any]:
        """What the metrics are measured on."""
        return protocol_of(self.data.protocol, self.evaluation, self.stop).to_dict()

    def identity(self, initial: PyTree, frozen: Part) -> Facts:
        """All that the results depend on."""
        made = identity_of(self.algorithm, self.data, self.key, initial, frozen)
        terms = terms_of(
            self.protocol, self.evaluation, self.stop, self.sampler, self.payload, self.plugins
        )
        start = {"start": self.start.facts if self.start else {}}
        return made | terms | start | self._read_at_test

    @property
    def given(self) -> dict[str, npt.NDArray[Any]]:
        """What the state begins with in place of what would be drawn.

        Raises:
          UserError: it does not fit, or would be overwritten.
        """
        if self.start is None:
            return {}
        if self.output and self.output.resolve() == self.start.source.resolve():
            raise UserError(f"start: {self.output} is the run's own folder; choose another output")
        return self.start.taken(initial_shapes(self.algorithm, self.data.num_clients).state)

    def refuse_other_base(self, frozen: Part) -> None:
        """Refuses a start that was trained beside other frozen parameters."""
        if self.start:
            self.start.refuse_other_base(self.algorithm, frozen)

    @property
    def _read_at_test(self) -> Facts:
        """Validation events with their order and times, where they are more than questions."""
        events = self.data.split.valid.events
        if self.evaluation.history == "train" or events is None:
            return {}
        columns = events.users, events.items, events.values, events.times
        digest = hashlib.sha256(b"".join(column.tobytes() for column in columns))
        return {"read_at_test": {"valid_events_sha256": digest.hexdigest()}}

    def tell_start(self, round: int | None, state: ServerState) -> None:
        """Says where a run in a folder begins, `None` where nothing was there, and with what."""
        if self.start and round is None:
            self.notice(self.start.in_words(state))
        if self.output:
            is_new = round is None
            line = "starting at round 0" if is_new else f"going on from round {round}"
            self.notice(line if is_new else f"{line} of {self.rounds}")

    def storage(self, identity: Facts) -> Storage:
        """Where the run is kept."""
        if self.output is None:
            return MemoryStorage()
        return FolderStorage(
            self.output,
            self.checkpoint,
            resume=self.resume,
            notice=self.notice,
            identity=identity,
            config=settings_text(self.config, identity, self.rounds),
            loggers=self.loggers,
        )
