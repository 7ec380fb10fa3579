"""What attacks find in a run, beside what the run promises.

One run of the configuration is attacked from three sides. Half of the clients, by fair coins,
stay out of it: membership is guessed. Canaries take part in it, where updates are bounded: they
bound epsilon from below. And some of its clients' uploads are read as a server reads them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.attacks import (
    area_under_curve,
    calibrated_loss,
    canaries_of,
    epsilon_lower_bound,
    interaction_membership,
    loss_threshold,
    row_support,
    svd_sign,
    tpr_at_fpr,
    with_canaries,
)
from fedjax_rec.base import (
    Clients,
    CohortSampler,
    FederatedAlgorithm,
    Fixed,
    PyTree,
    SamplingEvent,
    ServerState,
)
from fedjax_rec.config import RunConfig
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import Experiment
from fedjax_rec.experiment import build as build_experiment
from fedjax_rec.simulation import Report, Result, build
from fedjax_rec.simulation.shadow import shadow_upload
from fedjax_rec.simulation.uploads import (
    Uploads,
    client_losses,
    rows_sent,
    training_items,
    uploads,
)

ATTACKER = 0xA77ACC
"""Sets the attacker's keys, and the coins of clients, apart from the run's."""

LIKED = 0.2
"""The share of liked items among those a client sends, where its sampler does not say."""

FPR = 0.01
DELTA = 1e-5

SEES_UPLOADS = "one client's upload before anything is summed; not what secure sums show"
SEES_MODEL = "the shared parameters after the run and the client's own data"
SEES_RELEASES = "what every round releases, and the canaries' directions"

Finding = dict[str, Any]
"""`auc`, `n`, `sees`, and what else an attack finds."""


class PrivacyAudit(NamedTuple):
    """What an audit found.

    Attributes:
      claim: the run's own statement of privacy, as in its summary; `None` for none.
      attacks: name -> what it found.
      notes: what could not be attacked, and why.
    """

    claim: Any
    attacks: dict[str, Finding]
    notes: list[str]


def audit_privacy(
    config: RunConfig,
    folder: Path,
    *,
    num_clients: int = 100,
    num_canaries: int = 2000,
    resume: bool = True,
    report: Callable[[Report], None] = lambda report: None,
    notice: Callable[[str], None] = lambda line: None,
) -> PrivacyAudit | None:
    """Runs a configuration with half of its clients and attacks it.

    Args:
      config: of the run.
      folder: the attacked run is in `run` inside.
      num_clients: whose uploads are read, and as many members and others whose membership
        is guessed; at least 2.
      num_canaries: that toss a coin to take part.
      resume: go on with what the folder holds.
      report: is told after each stretch of rounds.
      notice: gets lines for the user.

    Returns:
      What was found; `None` if interrupted. The area under the curve of an attack on uploads
      is the mean over clients.

    Raises:
      UserError: a configuration that cannot be run, or too few clients.
    """
    if num_clients < 2:
        raise UserError(f"audit privacy: needs at least 2 clients, got {num_clients}")
    experiment = build_experiment(config, notice)
    notes: list[str] = []
    is_member = _coins(experiment)
    attacked = replace(
        experiment,
        algorithm=_audited(experiment, num_canaries, notes),
        sampler=MembersOnly(experiment.sampler, tuple(np.flatnonzero(is_member).tolist())),
        stop=None,  # what is claimed and attacked is the last round
    )
    result = attacked.run(folder / "run", resume=resume, report=report, notice=notice)
    if result.is_interrupted:
        return None
    target = _Target(attacked, result, is_member, num_clients)
    attacks = target.on_uploads(notes) | target.on_membership(notes)
    if attacked.algorithm is not experiment.algorithm:
        attacks["canaries"] = _canaries_found(result)
    return PrivacyAudit(result.summary["privacy"], attacks, notes)


@dataclass(frozen=True)
class MembersOnly:
    """A cohort sampler whose draws lose everybody but some clients.

    Attributes:
      sampler: draws first.
      members: places, among those who may train, of who stays.
    """

    sampler: CohortSampler
    members: tuple[int, ...]

    @property
    def event(self) -> SamplingEvent:
        """How the cohort is drawn, as anybody outside knows it."""
        return self.sampler.event

    def draw(self, seed: int, round: int) -> npt.NDArray[np.int32]:
        """The members that the sampler drew."""
        drawn = np.asarray(self.sampler.draw(seed, round), np.int32)
        return drawn[np.isin(drawn, self.members)]


def _coins(experiment: Experiment) -> npt.NDArray[np.bool_]:
    """`[M]` who of the clients that may train is in the run; never all or nobody."""
    num = len(experiment.data.training_clients)
    if num < 4:
        raise UserError(f"audit privacy: {num} clients are too few to leave half of them out")
    generator = np.random.default_rng([experiment.config.seed, ATTACKER])
    coins = generator.random(num) < 0.5
    coins[generator.permutation(num)[:4]] = [True, True, False, False]
    return coins


def _audited(experiment: Experiment, num_canaries: int, notes: list[str]) -> FederatedAlgorithm:
    """The algorithm with canaries, where updates are bounded; else as it is, with a note."""
    algorithm = experiment.algorithm
    try:
        aggregate = with_canaries(
            algorithm.aggregate, num_canaries, experiment.sampler.event.probability
        )
    except ValueError as error:
        notes.append(f"no canaries: {error}")
        return algorithm
    return replace(algorithm, aggregate=aggregate)


def _canaries_found(result: Result) -> Finding:
    """What the coins of canaries were worth guessing."""
    canaries = canaries_of(result.state.aggregate_state)
    claim = result.summary["privacy"]
    delta = claim.get("delta", DELTA) if isinstance(claim, Mapping) else DELTA
    return {
        "auc": area_under_curve(canaries.scores, canaries.included),
        "n": canaries.scores.size,
        "sees": SEES_RELEASES,
        "epsilon_lower_bound": epsilon_lower_bound(canaries.scores, canaries.included, delta=delta),
        "delta": delta,
    }


@dataclass(frozen=True)
class _Target:
    """A finished run under attack.

    Attributes:
      experiment: as it was run.
      result: what it left.
      is_member: `[M]` who of the clients that may train was in it.
      num_clients: how many are attacked.
    """

    experiment: Experiment
    result: Result
    is_member: npt.NDArray[np.bool_]
    num_clients: int

    @property
    def fixed(self) -> Fixed:
        return Fixed(self.result.frozen, self.experiment.data.clients)

    def some(self, is_wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """Ids of some of the clients that may train."""
        ids = self.experiment.data.training_clients[is_wanted]
        generator = np.random.default_rng([self.experiment.config.seed, ATTACKER, 1])
        return generator.permutation(ids)[: self.num_clients]

    @cached_property
    def start(self) -> tuple[ServerState, Clients]:
        """Where the run began."""
        experiment, start = self.experiment, self.experiment.start
        init = jax.jit(build(experiment.algorithm).init, static_argnums=1)
        given = start.taken(self.result.state) if start else {}
        state, clients, _ = init(experiment.key, experiment.data.num_clients, given)
        return state, clients

    def on_uploads(self, notes: list[str]) -> dict[str, Finding]:
        """Which items clients like, in the first round and in the one after the last."""
        algorithm = self.experiment.algorithm
        sampler = algorithm.objective.sampler
        table = sampler.table if sampler else "item"
        if table not in algorithm.template(self.result.state.shared).rows:
            notes.append(f"no attack on uploads: clients send no rows of {table}s")
            return {}
        ids = self.some(self.is_member)
        read = jax.jit(lambda *now: uploads(algorithm, *now))
        moments = {"first": self.start, "last": (self.result.state, self.result.clients)}
        found = {}
        for moment, (state, clients) in moments.items():
            seen = read(state, clients, self.fixed, ids)
            num_rows = algorithm.model.num_rows[table]
            sent = [rows_sent(seen, place, table, num_rows) for place in range(len(ids))]
            truth = training_items(self.experiment.data.clients, ids)
            support, signs = (
                [np.asarray(attack(change)) for _, change in sent]
                for attack in (row_support, svd_sign)
            )
            found[f"row_support/{moment}"] = _in_catalogue(support, sent, truth, num_rows)
            found[f"svd_sign/{moment}"] = _among_moved(signs, sent, truth)
            if not algorithm.model.needs_history:
                shadows = self.by_shadows(state, seen, table)
                found[f"interaction_membership/{moment}"] = _among_moved(shadows, sent, truth)
        if algorithm.model.needs_history:
            notes.append("no interaction_membership: the model reads histories, unknown to it")
        return dict(sorted(found.items()))

    def by_shadows(
        self, state: ServerState, seen: Uploads, table: str
    ) -> list[npt.NDArray[np.float32]]:
        """Scores of each client's rows as sent, by shadow clients with guessed labels."""
        algorithm = self.experiment.algorithm
        sampler, num_rows = algorithm.objective.sampler, algorithm.model.num_rows[table]
        liked = 1 / (1 + sampler.num_negatives) if sampler else LIKED
        changes = seen.messages.update.rows[table]
        num = jax.tree.leaves(changes)[0].shape[0]
        named = seen.row_ids.get(table)
        rows = jnp.tile(jnp.arange(num_rows), (num, 1)) if named is None else named
        key = jax.random.fold_in(self.experiment.key, ATTACKER + 1)

        @jax.jit
        def attack(state: ServerState, fixed: Fixed, changes: PyTree, rows: jax.Array) -> jax.Array:
            def one(client: tuple[jax.Array, PyTree, jax.Array]) -> jax.Array:
                place, change, ids = client
                train = partial(shadow_upload, algorithm, state, fixed, ids, table)
                own = jax.random.fold_in(key, place)
                return interaction_membership(own, change, train, share=liked)

            scores: jax.Array = jax.lax.map(one, (jnp.arange(num), changes, rows))
            return scores

        scores = np.asarray(attack(state, self.fixed, changes, rows))
        return [one[ids < num_rows] for one, ids in zip(scores, np.asarray(rows), strict=True)]

    def on_membership(self, notes: list[str]) -> dict[str, Finding]:
        """Losses under the released model, as they are and against the untrained one."""
        members, others = self.some(self.is_member), self.some(~self.is_member)
        ids = np.concatenate([members, others])
        is_in = np.arange(len(ids)) < len(members)
        key = jax.random.fold_in(self.experiment.key, ATTACKER)
        measure = jax.jit(
            lambda state: client_losses(self.experiment.algorithm, state, self.fixed, ids, key)
        )
        try:
            trained, untrained = measure(self.result.state), measure(self.start[0])
        except UserError as error:
            notes.append(f"no attack on membership: {error}")
            return {}
        attacks = {
            "membership/loss": loss_threshold(trained),
            "membership/calibrated": calibrated_loss(trained, np.asarray(untrained)[None]),
        }
        return {
            name: {
                "auc": area_under_curve(scores, is_in),
                "n": len(ids),
                "sees": SEES_MODEL,
                f"tpr_at_fpr_{FPR}": tpr_at_fpr(scores, is_in, FPR),
            }
            for name, scores in attacks.items()
        }


Sent = list[tuple[npt.NDArray[np.int32], PyTree]]
"""Each client's item ids `[S]` and their change."""


def _in_catalogue(
    scores: Sequence[npt.NDArray[np.float32]],
    sent: Sent,
    truth: list[npt.NDArray[np.int32]],
    num_rows: int,
) -> Finding:
    """The mean area of an attack: clients' items among all `num_rows`."""
    areas = []
    for own, (rows, _), items in zip(scores, sent, truth, strict=True):
        everywhere = np.zeros(num_rows)
        everywhere[rows] = own
        areas.append(area_under_curve(everywhere, np.isin(np.arange(num_rows), items)))
    return _mean_area(areas)


def _among_moved(
    scores: Sequence[npt.NDArray[np.float32]], sent: Sent, truth: list[npt.NDArray[np.int32]]
) -> Finding:
    """The mean area of an attack: clients' items among the rows that moved."""
    areas = []
    for own, (rows, change), items in zip(scores, sent, truth, strict=True):
        is_moved = np.asarray(row_support(change)) > 0
        areas.append(area_under_curve(own[is_moved], np.isin(rows[is_moved], items)))
    return _mean_area(areas)


def _mean_area(areas: list[float]) -> Finding:
    known = [area for area in areas if np.isfinite(area)]
    return {
        "auc": float(np.mean(known)) if known else None,
        "n": len(known),
        "sees": SEES_UPLOADS,
    }
