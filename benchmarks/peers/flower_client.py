"""The client of `flower_sim.py`, in a file of its own so that ray's actors can import it."""

import functools
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.problem import Problem, load

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """One client's local epochs."""
    config = message.content["config"]
    problem, users = _opened(config["problem"], config["users"])
    settings = problem.settings
    client = int(context.node_config["partition-id"])
    round = config["first-round"] + config["server-round"] - 1
    rng = np.random.default_rng([settings.seed, round, 1, client])
    items = torch.tensor(message.content["arrays"].to_numpy_ndarrays()[0])
    user = torch.tensor(users[client])
    for ids, labels in problem.batches(rng, client):
        at = torch.from_numpy(ids)
        rows, vector = items[at].requires_grad_(), user.clone().requires_grad_()
        loss = binary_cross_entropy_with_logits(rows @ vector, torch.from_numpy(labels))
        rows_grad, user_grad = torch.autograd.grad(loss, (rows, vector))
        items.index_add_(0, at, rows_grad, alpha=-settings.item_rate)
        user -= settings.user_rate * user_grad
    users[client] = user.numpy()
    content = {
        "arrays": ArrayRecord([items.numpy()]),
        "metrics": MetricRecord({"weight": 1.0}),  # a mean by client
    }
    return Message(content=RecordDict(content), reply_to=message)


@functools.cache
def _opened(problem: str, users: str) -> tuple[Problem, np.memmap]:
    """What an actor reads once."""
    torch.set_num_threads(1)
    loaded = load(Path(problem))
    shape = loaded.users_start.shape
    return loaded, np.memmap(users, np.float32, "r+", shape=shape)
