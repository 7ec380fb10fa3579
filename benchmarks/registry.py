"""The peers by name: which file, which environment, one line on what it is."""

from dataclasses import dataclass

from benchmarks.environments import FEDJAX, FLOWER, OURS, PFL, TORCH, Environment


@dataclass(frozen=True)
class PeerEntry:
    """How to start a peer.

    Attributes:
      module: file in `benchmarks/peers`.
      environment: where it runs.
      about: one line.
      arguments: further words on its command line.
      variables: environment variables, as `NAME=value`.
    """

    module: str
    environment: Environment
    about: str
    arguments: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


PASSIVE = ("OMP_WAIT_POLICY=passive",)
"""Threads that spin while they wait would take the cores from each other."""

PEERS = {
    "ours": PeerEntry("ours", OURS, "fedjax_rec as `simulate` runs it by default"),
    "ours-general": PeerEntry("ours", OURS, "the same on the general executor", ("general",)),
    "ours-autodiff": PeerEntry(
        "ours", OURS, "the same with a user-written loss and gradients by autodiff", ("autodiff",)
    ),
    "ours-one-device": PeerEntry("ours", OURS, "the same on one device", ("one-device",)),
    "ours-private": PeerEntry("ours", OURS, "the same with clip and Gaussian noise", ("private",)),
    "ours-general-private": PeerEntry(
        "ours", OURS, "the same on the general executor", ("general-private",)
    ),
    "c-loop": PeerEntry("c_loop", OURS, "a C program with exact local tables, two threads"),
    "fedjax": PeerEntry("fedjax_jit", FEDJAX, "FedJAX 0.0.17, for_each_client, jit backend"),
    "torch-lean": PeerEntry(
        "torch_lean",
        TORCH,
        "a lean loop over clients, autograd, one thread (two in W4)",
        variables=PASSIVE,
    ),
    "torch-by-hand": PeerEntry(
        "torch_lean", TORCH, "the lean loop with its gradient written by hand", ("--by-hand",)
    ),
    "torch-research": PeerEntry(
        "torch_research", TORCH, "the style of research code: DataLoader, deepcopy, states kept"
    ),
    "torch-vmap": PeerEntry(
        "torch_vmap",
        TORCH,
        "torch.func.vmap over chunks of clients sorted by size, two threads",
        variables=PASSIVE,
    ),
    "jax-dense": PeerEntry(
        "jax_dense", OURS, "vmap over whole local tables, padded to the largest client"
    ),
    "pfl": PeerEntry("pfl_loop", PFL, "pfl 0.6.0, FederatedAveraging on PyTorch"),
    "flower": PeerEntry("flower_sim", FLOWER, "Flower 1.41.0 simulation on ray, two actors"),
}
