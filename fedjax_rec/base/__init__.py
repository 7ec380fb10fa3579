"""The types every other module speaks: parts, histories, slots, messages, states.

Arrays live in NamedTuples (pytrees); functions and static facts live in frozen
dataclasses (not pytrees). Every parameter has a role (`shared`, `private`, `frozen`)
and a shape (`rows`, indexed by item, or `dense`); see docs/design.md.

Axes in comments: N clients, C cohort, S slice rows, L history, B batch, I items,
D width, K cut-off.
"""

from fedjax_rec.base.aggregation import AggregateTransform, Message
from fedjax_rec.base.histories import ClientData, History, Inputs, LengthClass
from fedjax_rec.base.parts import (
    Array,
    Key,
    Part,
    Private,
    PyTree,
    RowIds,
    View,
    empty,
    nothing_private,
)
from fedjax_rec.base.recipes import (
    Recipe,
    decided,
    is_concrete,
    is_repeating,
    is_zero,
    made_from,
    parametric,
    structure_of,
)
from fedjax_rec.base.rounds import (
    DECODE,
    ENCODE,
    INIT,
    INIT_EXTRA,
    PREPARE,
    SERVER,
    TRAIN,
    CohortSampler,
    SamplingEvent,
    derive_key,
)
from fedjax_rec.base.server import (
    Clients,
    FederatedAlgorithm,
    Fixed,
    RoundInfo,
    ServerState,
    ServerUpdate,
)
from fedjax_rec.base.slots import (
    ClientOutput,
    ClientUpdate,
    Cohort,
    Entry,
    LocalSGD,
    Model,
    Objective,
    Pullback,
    Sampled,
    Sampler,
    Stat,
    Support,
    Task,
)

__all__ = [
    "DECODE",
    "ENCODE",
    "INIT",
    "INIT_EXTRA",
    "PREPARE",
    "SERVER",
    "TRAIN",
    "AggregateTransform",
    "Array",
    "ClientData",
    "ClientOutput",
    "ClientUpdate",
    "Clients",
    "Cohort",
    "CohortSampler",
    "Entry",
    "FederatedAlgorithm",
    "Fixed",
    "History",
    "Inputs",
    "Key",
    "LengthClass",
    "LocalSGD",
    "Message",
    "Model",
    "Objective",
    "Part",
    "Private",
    "Pullback",
    "PyTree",
    "Recipe",
    "RoundInfo",
    "RowIds",
    "Sampled",
    "Sampler",
    "SamplingEvent",
    "ServerState",
    "ServerUpdate",
    "Stat",
    "Support",
    "Task",
    "View",
    "decided",
    "derive_key",
    "empty",
    "is_concrete",
    "is_repeating",
    "is_zero",
    "made_from",
    "nothing_private",
    "parametric",
    "structure_of",
]
