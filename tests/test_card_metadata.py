"""What the Hub is told of the rows that a model was tested on."""

import pytest
from test_result import make

from ftkit import registry
from ftkit.publishing.card_metadata import eval_results, metadata
from ftkit.runs.pinning import Licences


@pytest.mark.parametrize(
    ("split", "said"),
    [("test", "test"), ("train", "test, cut from train (data.split_seed 3)")],
)
def test_test_rows_cut_from_train_are_not_published_as_train(split, said):
    recipe = registry.find("mlp-mnist").override({"data.split_seed": 3})
    head = metadata(recipe, {"accuracy": 0.9}, split, Licences(None, None))
    assert [result.dataset_split for result in head.eval_results] == [said]
    (text,) = eval_results(recipe, make(split=split)).values()
    assert f"on split {said}, " in text.replace("\n", " ").replace("  ", " ")
