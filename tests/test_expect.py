"""What recipes say that they reach: measured over seeds, and true of the code as it is."""

import pytest

import ftkit.finetuning.finetune
from ftkit import Expect, RecipeError, finetune, registry
from ftkit.finetuning.verify import Verified

MEASURED = {
    "mlp-digits": {"full"},
    "mlp-diabetes": {"full"},
    "mlp-text": {"full"},
    "mlp-tictactoe": {"full"},
    "effnet-digits": {"head", "lora", "full"},
    "minilm-langid": {"head"},
    "bart-cldr": {"full"},
}
"""The strategies of each recipe that were."""


@pytest.mark.parametrize("name", MEASURED)
def test_an_embedded_recipe_says_what_five_seeds_gave_and_how(name):
    recipe = registry.find(name)
    assert {expect.strategy for expect in recipe.expect} == MEASURED[name]
    for expect in recipe.expect:
        assert expect.metric == recipe.task.figures[0]
        assert expect.low <= expect.mean <= expect.high
        # an exact head on a frozen backbone is the same with every seed
        assert expect.low < expect.high or expect.strategy == "head"
        assert f"measure_expect.py {name}" in expect.source
        assert "--seeds 5" in expect.source
        assert "commit" in expect.source


def test_the_perceptron_on_digits_is_as_good_as_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ftkit.finetuning.finetune, "verify", lambda *_: Verified(0, None)
    )  # test_perceptron_run does so
    recipe = registry.find("mlp-digits")
    (expect,) = recipe.expect
    value = finetune(recipe, tmp_path / "out").metrics[expect.metric].value
    assert expect.low - 0.0005 <= value <= expect.high + 0.0005  # they have three digits


def test_a_mean_outside_of_its_range_is_refused():
    with pytest.raises(RecipeError, match=r"mean 0\.9 lies outside of 0\.1 to 0\.2"):
        Expect(strategy="full", low=0.1, high=0.2, mean=0.9, source="x")
