"""Lists for everybody are those of each client alone, where clients adapt before they score."""

import numpy as np

from fedjax_rec import recommend_all, simulate
from fedjax_rec.base import Fixed
from fedjax_rec.config import from_dict
from fedjax_rec.evaluation import top_k
from fedjax_rec.experiment import build
from fedjax_rec.experiment.recommendations import met_items, read_behind


def test_clients_that_adapt_get_the_same_together_and_alone():
    sizes = {"num_users": 13, "num_items": 30, "mean_events": 8.0}
    table = {
        "rounds": 1,
        "data": {"name": "synthetic", **sizes},
        "algorithm": {"name": "pfedrec", "dim": 4},
    }
    made = build(from_dict(table, "here"))
    result = simulate(made.algorithm, made.data, key=made.key, rounds=1)
    everybody = recommend_all(made.algorithm, made.data, result, k=5)
    offsets, met = met_items(made.data)
    fixed = Fixed(result.frozen, made.data.clients)
    for client in (0, 12):
        own = met[offsets[client] : offsets[client + 1]]
        asked = (made.algorithm, result.state, result.clients, fixed, client, 5, own)
        items, scores = top_k(*asked, read_behind(made.data))
        is_own = everybody.user_ids == client
        assert everybody.item_ids[is_own].tolist() == items.tolist()
        np.testing.assert_allclose(everybody.score[is_own], scores, rtol=1e-4)
