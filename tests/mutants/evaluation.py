"""Faults in metrics, baselines and what is counted."""

from tests.mutants.record import Mutant

METRICS = (
    Mutant(
        "hits-leave-out-the-last-place",
        "evaluation/metrics.py",
        "return (ranks <= k).astype(jnp.float32)",
        "return (ranks < k).astype(jnp.float32)",
        "evaluation/test_metrics.py::test_metrics_equal_a_walk_down_the_ranked_list",
    ),
    Mutant(
        "discount-starts-at-zero",
        "evaluation/metrics.py",
        "jnp.log2(ranks + 1.0)",
        "jnp.log2(ranks + 2.0)",
        "evaluation/test_metrics.py::test_metrics_equal_a_walk_down_the_ranked_list",
    ),
    Mutant(
        "mrr-takes-the-worst-hit",
        "evaluation/metrics.py",
        "return (_hits(ranks, k) / ranks).max(axis=-1)",
        "return (_hits(ranks, k) / ranks).min(axis=-1)",
        "evaluation/test_metrics.py::test_metrics_equal_a_walk_down_the_ranked_list",
    ),
    Mutant(
        "map-divides-by-all-relevant",
        "evaluation/metrics.py",
        "jnp.minimum(num_relevant, k))",
        "num_relevant)",
        "evaluation/test_metrics.py::test_metrics_equal_a_walk_down_the_ranked_list",
    ),
    Mutant(
        "larger-errors-are-better",
        "evaluation/metrics.py",
        'frozenset({"rmse", "mae", "log_loss"})',
        'frozenset({"mae", "log_loss"})',
        "evaluation/test_predictions.py::test_which_way_is_better",
    ),
    Mutant(
        "auc-counts-the-relevant-as-others",
        "evaluation/metrics.py",
        "jnp.expand_dims(num_candidates - num_relevant, -1)",
        "jnp.expand_dims(num_candidates, -1)",
        "evaluation/test_auc.py",
    ),
    Mutant(
        "rmse-without-a-root",
        "evaluation/predictions.py",
        'return np.sqrt(mean) if name == "rmse" else mean',
        "return mean",
        "evaluation/test_predictions.py::test_errors_are_means_over_all_pairs",
    ),
    Mutant(
        "padding-is-predicted-too",
        "evaluation/predictions.py",
        'is_real & is_finite if name == "accuracy" else is_real',
        'is_finite if name == "accuracy" else is_real',
        "evaluation/test_predictions.py::test_errors_are_means_over_all_pairs",
    ),
    Mutant(
        "labels-are-predicted-upside-down",
        "evaluation/predictions.py",
        "jax.nn.softplus((1 - 2 * value) * score)",
        "jax.nn.softplus((2 * value - 1) * score)",
        "evaluation/test_predictions.py::test_errors_are_means_over_all_pairs",
    ),
    Mutant(
        "gini-does-not-sort",
        "evaluation/fairness.py",
        "known = np.sort(_known(values))\n    if known.size and",
        "known = _known(values)\n    if known.size and",
        "evaluation/test_fairness.py::test_gini_is_the_mean_difference_of_pairs",
    ),
    Mutant(
        "the-worst-decile-is-the-best",
        "evaluation/fairness.py",
        "known[:count].mean()",
        "known[-count:].mean()",
        "evaluation/test_fairness.py::test_the_worst_decile_is_rounded_up",
    ),
    Mutant(
        "clients-without-a-value-count",
        "evaluation/fairness.py",
        "found[~np.isnan(found)]",
        "np.nan_to_num(found)",
        "evaluation/test_fairness.py::test_clients_without_a_value_are_left_out",
    ),
    Mutant(
        "ids-travel-for-nothing",
        "evaluation/communication.py",
        "_row_bytes(update, rows_touched) + ID_BYTES * num_ids",
        "_row_bytes(update, rows_touched) + 0 * num_ids",
        "evaluation/test_communication.py",
    ),
    Mutant(
        "bytes-of-one-client-stand-for-all",
        "evaluation/communication.py",
        "self.total_up + per_client.up * num_clients",
        "self.total_up + per_client.up",
        "evaluation/test_communication.py",
    ),
)

BASELINES = (
    Mutant(
        "popularity-counts-events",
        "baselines/popularity.py",
        '.at[history.items].set(1.0, mode="drop")',
        '.at[history.items].add(1.0, mode="drop")',
        "baselines/test_popularity.py::test_one_round_counts_each_item_once_a_client",
    ),
    Mutant(
        "popularity-adds-up-rounds",
        "baselines/counting.py",
        "return state._replace(shared=conclude(message.update))",
        "return state._replace(shared=jax.tree.map(lambda a, b: a + b, state.shared,"
        " conclude(message.update)))",
        "baselines/test_popularity.py::test_the_last_cohort_replaces_the_counts_of_the_one_before",
    ),
    Mutant(
        "ease-keeps-its-diagonal",
        "baselines/neighbours.py",
        "jnp.fill_diagonal(-inverse / jnp.diag(inverse), 0, inplace=False)",
        "-inverse / jnp.diag(inverse)",
        "baselines/test_neighbours.py::test_ease_is_the_closed_form",
    ),
    Mutant(
        "ease-divides-by-the-other-axis",
        "baselines/neighbours.py",
        "-inverse / jnp.diag(inverse),",
        "-inverse / jnp.diag(inverse)[:, None],",
        "baselines/test_neighbours.py::test_ease_is_the_closed_form",
    ),
    Mutant(
        "ease-by-people-forgets-what-is-left",
        "baselines/neighbours.py",
        '"weights": (projected / left).T',
        '"weights": projected.T',
        "baselines/test_neighbours.py::test_ease_is_the_closed_form",
    ),
    Mutant(
        "pairs-of-the-last-row-of-a-block-are-lost",
        "baselines/pooled_histories.py",
        "for bound in (begin, begin + size))",
        "for bound in (begin, begin + size - 1))",
        "baselines/test_neighbours.py::test_co_occurrences_are_rows_of_the_gram_matrix",
    ),
    Mutant(
        "neighbours-without-shrinkage",
        "baselines/neighbours.py",
        "norms + shrinkage, 1)",
        "norms, 1)",
        "baselines/test_neighbours.py::test_item_knn_is_the_sum_over_the_nearest",
    ),
    Mutant(
        "items-that-recur-count-twice",
        "baselines/pooled_histories.py",
        "return jnp.where(is_first, items, num_items)",
        "return jnp.where(is_first | True, items, num_items)",
        "baselines/test_ials.py::test_a_round_is_a_sweep_of_dense_solves",
    ),
    Mutant(
        "ials-without-a-penalty",
        "baselines/ials.py",
        "+ penalty[:, None, None] * jnp.eye(dim)",
        "+ 0 * penalty[:, None, None] * jnp.eye(dim)",
        "baselines/test_ials.py::test_a_round_is_a_sweep_of_dense_solves",
    ),
    Mutant(
        "ials-forgets-the-unheld",
        "baselines/ials.py",
        'weights.unheld * everyone["gram"]',
        '0 * everyone["gram"]',
        "baselines/test_ials.py::test_a_round_is_a_sweep_of_dense_solves",
    ),
    Mutant(
        "a-users-mean-is-not-damped",
        "baselines/means.py",
        "_at_least_one(user_damping + history.num_events)",
        "_at_least_one(history.num_events)",
        "baselines/test_means.py::test_biases_equal_plain_loops",
    ),
    Mutant(
        "item-biases-keep-the-mean",
        "baselines/means.py",
        "(sums - counts * mean) /",
        "sums /",
        "baselines/test_means.py::test_biases_equal_plain_loops",
    ),
)

MUTANTS = METRICS + BASELINES
