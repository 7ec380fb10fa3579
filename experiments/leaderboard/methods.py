"""What is compared: each method's preset, and the eight settings that are tried of it."""

from experiments.trials import Trials, grid

ITEM_RATES = {"item_learning_rate": (25.0, 50.0, 100.0, 200.0)}
RATES = {"user_learning_rate": (1.0, 5.0)} | ITEM_RATES
SERVER = {"server_learning_rate": (0.01, 0.03, 0.1, 0.3), "item_learning_rate": (50.0, 200.0)}
POOLED = {"learning_rate": (5e-4, 1e-3, 3e-3, 1e-2), "regularization": (0.0, 1e-6)}


def on_fedavg(name: str, trials: Trials) -> tuple[str, Trials]:
    """An algorithm that suits any model, on that of the preset `ml-100k/fedavg`."""
    return "ml-100k/fedavg", [("--algorithm.name", name, *trial) for trial in trials]


METHODS: dict[str, tuple[str, Trials]] = {
    "Popularity": ("ml-100k/popularity", [()]),
    "item-kNN": (
        "ml-100k/item_knn",
        grid(num_neighbours=(20, 50, 100, 200), shrinkage=(10.0, 100.0)),
    ),
    "EASE": (
        "ml-100k/ease",
        grid(regularization=(50.0, 100.0, 200.0, 300.0, 500.0, 700.0, 1000.0, 2000.0)),
    ),
    "iALS": ("ml-100k/ials", grid(alpha=(0.3, 1.0), regularization=(1e-3, 3e-3, 1e-2, 3e-2))),
    "BPR-MF, pooled": ("ml-100k/bpr_mf", grid(**POOLED)),
    "GMF, pooled": ("ml-100k/gmf", grid(**POOLED)),
    "MLP, pooled": ("ml-100k/mlp", grid(**POOLED)),
    "NeuMF, pooled": ("ml-100k/neumf", grid(**POOLED)),
    "FedAvg": on_fedavg("fedavg", grid(**RATES)),
    "FedSGD": on_fedavg(
        "fedsgd",
        grid(user_learning_rate=(3.0, 10.0), item_learning_rate=(100.0, 200.0, 400.0, 800.0)),
    ),
    "FedProx": on_fedavg("fedprox", grid(mu=(1e-3, 1e-2), **ITEM_RATES)),
    "FedAvgM": on_fedavg("fedavgm", grid(**SERVER)),
    "FedAdagrad": on_fedavg("fedadagrad", grid(**SERVER)),
    "FedAdam": on_fedavg("fedadam", grid(**SERVER)),
    "FedYogi": on_fedavg("fedyogi", grid(**SERVER)),
    "SCAFFOLD": on_fedavg("scaffold", grid(**RATES)),
    "FedDyn": on_fedavg("feddyn", grid(alpha=(1e-3, 1e-2), **ITEM_RATES)),
    "Fine-tuning": on_fedavg("finetuning", grid(**RATES)),
    "Reptile": on_fedavg("reptile", grid(outer_learning_rate=(0.5, 1.0), **ITEM_RATES)),
    "FedPer": on_fedavg("fedper", grid(model=("gmf",), **RATES)),
    "FedRep": on_fedavg("fedrep", grid(model=("gmf",), **RATES)),
    "Ditto": on_fedavg("ditto", grid(strength=(1e-3, 4e-3), **ITEM_RATES)),
    "FedMF": (
        "ml-100k/fedmf_by_client",
        grid(user_learning_rate=(1.0, 3.0), item_learning_rate=(400.0, 800.0, 1600.0, 3200.0)),
    ),
    "FedMF by BPR": (
        "ml-100k/fedmf_bpr",
        grid(user_learning_rate=(1.0, 3.0), item_learning_rate=(800.0, 1600.0, 3200.0, 6400.0)),
    ),
    "FedLightGCN": (
        "ml-100k/fedlightgcn",
        grid(user_learning_rate=(1.0, 3.0), server__learning_rate=(0.01, 0.03, 0.1, 0.3)),
    ),
    "FedNCF": on_fedavg("fedncf", grid(dense_learning_rate=(0.05, 0.5), **ITEM_RATES)),
    # the perceptron alone, and one for each client: what GPFedRec begins from
    "FedNCF, MLP": on_fedavg(
        "fedncf", grid(model=("ncf",), dense_learning_rate=(0.05, 0.5), **ITEM_RATES)
    ),
    "FedPer, MLP": on_fedavg(
        "fedper", grid(model=("ncf",), dense_learning_rate=(0.05, 0.5), **ITEM_RATES)
    ),
    "FedRecon": on_fedavg("fedrecon", grid(batch_size=(40,), **RATES)),
    "FCF": (
        "ml-100k/fcf",
        grid(regularization=(3.0, 10.0), server__learning_rate=(0.01, 0.03, 0.1, 0.3)),
    ),
    "PFedRec": (
        "ml-100k/pfedrec_by_client",
        grid(learning_rate=(0.05, 0.1), item_rate_factor=(10.0, 20.0, 40.0, 80.0)),
    ),
    "FedRAP": (
        "ml-100k/fedrap",
        grid(head_learning_rate=(1.0, 3.0), server__learning_rate=(100.0, 300.0, 1000.0, 3000.0)),
    ),
    "GPFedRec": (
        "ml-100k/gpfedrec",
        grid(regularization=(0.2, 1.0), rate_factor=(4.0, 8.0, 16.0, 32.0)),
    ),
    # what was chosen of the above without its graph, and from vectors that start as released
    "GPFedRec, no graph": ("ml-100k/gpfedrec", grid(regularization=(0.0,), rate_factor=(8.0,))),
    "GPFedRec, start of 1": (
        "ml-100k/gpfedrec",
        grid(init_stddev=(1.0,), regularization=(0.2,), rate_factor=(8.0,)),
    ),
    "CoLR, rank 8": (
        "ml-100k/colr",
        grid(learning_rate=(0.1, 0.2, 0.5, 1.0), weight_decay=(0.0, 5e-4)),
    ),
}
"""Name in the table -> preset, and settings to try."""

TRANSFERRED = (
    "Popularity",
    "EASE",
    "iALS",
    "GMF, pooled",
    "FedAvg",
    "FedAdam",
    "FedMF",
    "FCF",
    "PFedRec",
    "CoLR, rank 8",
)
"""The ten that run on ML-1M too, with what was chosen on ML-100K."""
