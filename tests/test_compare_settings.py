"""Of several settings of one strategy a comparison names the one that the sweep names."""

import numpy as np
import pytest
from test_compare_evidence import rung

from ftkit.compare.chosen_setting import best_by_validation
from ftkit.compare.finished_runs import Run
from ftkit.compare.summary import summarize


def trial(folder, label, validation, seed=0):
    """A run of LoRA with these validation figures; all answer their test rows alike."""
    run = rung(folder, label, np.arange(90) < 80, seed=seed)
    changes = {"strategy": {"kind": "lora"}, "validation": validation}
    return Run(label, run.folder, run.result.model_copy(update=changes))


@pytest.mark.parametrize("turned", [False, True])
def test_of_equal_figures_the_lower_loss_is_named_as_in_a_sweep(tmp_path, turned):
    runs = [
        trial(tmp_path, "trial-0", {"accuracy": 0.9, "loss": 1.5}),
        trial(tmp_path, "trial-1", {"accuracy": 0.9, "loss": 0.4}),
        trial(tmp_path, "trial-2", {"accuracy": 0.8, "loss": 0.1}),
    ]
    found = summarize(runs[::-1] if turned else runs)
    assert found.best == "trial-1"
    assert found.notes[-1].endswith(
        "trial-1 is named because its validation accuracy, 0.9000, is the best, and of equal ones "
        "its validation loss the lowest; test rows are not for choosing."
    )


def test_settings_are_chosen_on_the_seeds_that_all_have(tmp_path):
    """By all of its seeds trial-0 has 0.70, on the seed of both it is the better one."""
    groups = {
        "trial-0": [
            trial(tmp_path, "trial-0", {"accuracy": value, "loss": 1.0}, seed)
            for seed, value in ((0, 0.9), (1, 0.5))
        ],
        "trial-1": [trial(tmp_path, "trial-1", {"accuracy": 0.8, "loss": 1.0})],
    }
    assert best_by_validation(groups).label == "trial-0"
    alone = {"trial-0": groups["trial-0"][1:], "trial-1": groups["trial-1"]}
    assert best_by_validation(alone).label == "trial-1"  # no seed in common: each by its own
