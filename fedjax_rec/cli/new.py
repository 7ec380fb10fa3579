"""`fedjax-rec new`: a file to start from."""

import keyword
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from fedjax_rec.errors import UserError

ALGORITHM = '''"""NAME: federated averaging of matrix factorisation, to be changed into your method.

    fedjax-rec check NAME.py
    fedjax-rec run synthetic/fedmf --plugin NAME.py --algorithm.name NAME --output runs/NAME
"""

import optax

from fedjax_rec import register
from fedjax_rec.algorithms import fedavg
from fedjax_rec.base import AggregateTransform, FederatedAlgorithm
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled
from fedjax_rec.transforms import mean


@register.algorithm("NAME")
def NAME(
    num_items: int,
    *,
    dim: int = 32,
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    user_learning_rate: float = 5.0,
    item_learning_rate: float = 50.0,
    is_sliced: bool = True,
    aggregate: AggregateTransform | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> FederatedAlgorithm:
    """One line that says what it is.

    Args:
      num_items: size of the catalogue.
      dim: width of a vector.
      num_negatives: negatives to each positive.
      batch_size: examples of a local step.
      local_epochs: passes over a client's items in a round.
      user_learning_rate: of the user's own vector, which stays on the client.
      item_learning_rate: of item vectors, on the client.
      is_sliced: False gives every client the whole table.
      aggregate: what happens to updates; by default the mean over who changed a row.
      server_optimizer: `optax.sgd(1.0)` by default.
    """
    # How items are scored; which examples a client draws, and what it minimises.
    model = matrix_factorization(num_items, dim)
    sampler = Sampler(num_items, num_negatives, local_epochs, batch_size, is_sliced=is_sliced)
    objective = sampled(sampler, binary_cross_entropy)
    # How one client trains: started afresh from what the server sent.
    optimizer = by_role(
        shared=optax.sgd(item_learning_rate),
        private=optax.sgd(user_learning_rate),
    )
    client_update = local_training(model, objective, optimizer)
    # What happens to the updates on their way, and how the server moves.
    return fedavg(model, objective, client_update, aggregate or mean("row"), server_optimizer)
'''


@dataclass(frozen=True)
class New:
    """Write a file to start from, which passes every law as it is."""

    kind: Annotated[Positional[Literal["algorithm"]], arg(metavar="algorithm")]
    """What is begun."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Of the algorithm, and of the file NAME.py."""

    def execute(self) -> int:
        """Writes the file."""
        from fedjax_rec.registry import ALGORITHMS, BASELINES

        if not self.name.isidentifier() or keyword.iskeyword(self.name):
            raise UserError(
                f"name: {self.name!r} is no Python name; use letters, digits and _, such as "
                "my_method"
            )
        if self.name in ALGORITHMS.load() | BASELINES.load():
            raise UserError(f"name: {self.name} is registered already; choose another name")
        path = Path(f"{self.name}.py")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(ALGORITHM.replace("NAME", self.name))
        except FileExistsError:
            raise UserError(f"{path}: exists; choose another name") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None
        print(f"written to {path}; check it with: fedjax-rec check {path}")
        return 0
