"""The arguments of `simulate`, and what follows from them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedjax_rec.base import CohortSampler, FederatedAlgorithm, Key, Part, PyTree
from fedjax_rec.data import FederatedData
from fedjax_rec.evaluation import Payload
from fedjax_rec.simulation.execution import Execution
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
    report: Callable[[Report], None]
    notice: Callable[[str], None]
    config: str
    plugins: Mapping[str, str]
    loggers: Sequence[OpenLogger]

    @property
    def promise(self) -> Promise:
        """What its noise is worth."""
        aggregate, event = self.algorithm.aggregate, self.sampler.event
        return Promise(self.privacy, aggregate, event, self.stop, self.payload)

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
        return made | terms | self._read_at_test

    @property
    def _read_at_test(self) -> Facts:
        """Validation events with their order and times, where they are more than questions."""
        events = self.data.split.valid.events
        if self.evaluation.history == "train" or events is None:
            return {}
        columns = events.users, events.items, events.values, events.times
        digest = hashlib.sha256(b"".join(column.tobytes() for column in columns))
        return {"read_at_test": {"valid_events_sha256": digest.hexdigest()}}

    def tell_start(self, round: int | None) -> None:
        """Says where a run in a folder begins; `None` where nothing was there."""
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
