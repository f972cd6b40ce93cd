"""What training must beat is what scikit-learn says it is."""

import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from ftkit import Backbone, Data, Recipe, RunError, RunResult, TextTagging
from ftkit.compare.baselines import TEMPERATURE, run_baseline, vote
from ftkit.compare.rungs import ladder
from ftkit.compare.thresholds import THRESHOLDS, best_constant, best_threshold
from ftkit.data import load_splits
from ftkit.data.splits import labels_of
from ftkit.registry import find


def rung(recipe, kind):
    return ladder([recipe], [kind]).rungs[0].recipe


def test_the_majority_is_scikit_learns(tmp_path):
    recipe = rung(find("mlp-tictactoe"), "majority")
    result = run_baseline("majority", recipe, tmp_path / "run")
    splits = load_splits(recipe.data, recipe.task)
    train, test = labels_of(splits.train), labels_of(splits.test)
    dummy = DummyClassifier(strategy="prior").fit(train[:, None], train)
    assert result.metrics["accuracy"].value == pytest.approx(dummy.score(test[:, None], test))
    told = pq.read_table(tmp_path / "run" / "predictions.parquet")
    expected = dummy.predict_proba(test[:, None])
    np.testing.assert_allclose(np.array(told["probability"].to_pylist()), expected, atol=1e-5)
    assert told["index"].to_pylist() == splits.test["index"][:]
    assert (result.parameters_trained, result.strategy["kind"]) == (0, "majority")


def test_a_mean_explains_nothing_of_numbers(tmp_path):
    result = run_baseline("majority", rung(find("mlp-diabetes"), "majority"), tmp_path / "run")
    assert -0.2 < result.metrics["r2"].value <= 0


def test_the_constant_tags_are_the_best_of_all_sets():
    """Every set of five classes, by scikit-learn's micro-F1."""
    random = np.random.default_rng(0)
    truth = (random.random((200, 5)) < [0.05, 0.4, 0.3, 0.1, 0.35]).astype(int)

    def f1(told):
        return f1_score(truth, np.tile(told, (200, 1)), average="micro", zero_division=0)

    best = max(itertools.product((0, 1), repeat=5), key=f1)
    assert best_constant(truth).astype(int).tolist() == list(best)
    assert f1(best) > 0.4 > f1((0,) * 5) == 0  # what half of the votes tells


def test_the_threshold_of_votes_is_the_best_by_scikit_learn():
    random = np.random.default_rng(1)
    truth = (random.random((300, 3)) < [0.1, 0.3, 0.2]).astype(int)
    votes = np.clip(0.35 * truth + 0.3 * random.random((300, 3)), 0, 1)

    def f1(threshold):
        return f1_score(truth, votes > threshold, average="micro", zero_division=0)

    found = best_threshold(truth, votes)
    assert f1(found) == max(map(f1, THRESHOLDS))
    assert found < 0.5
    assert f1(found) > f1(0.5) + 0.2


def test_of_tags_the_baseline_tells_the_commonest(tmp_path):
    """warm stands at four of ten rows, cold at three, wet at one: nothing at half of them."""
    random = np.random.default_rng(2)
    tags = random.random((200, 3)) < [0.4, 0.3, 0.1]
    lines = [f"row {n},{','.join(str(int(v)) for v in row)}" for n, row in enumerate(tags)]
    (tmp_path / "tags.csv").write_text("\n".join(["text,warm,cold,wet", *lines]))
    recipe = Recipe(
        name="tags",
        data=Data(path=str(tmp_path / "tags.csv")),
        backbone=Backbone(id="none"),
        task=TextTagging(labels=("warm", "cold", "wet")),
    )
    result = run_baseline("majority", rung(recipe, "majority"), tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    told = table["prediction"].to_pylist()
    assert {frozenset(row) for row in told} == {frozenset(("warm", "cold"))}
    truth = np.array(
        [[name in row for name in ("warm", "cold", "wet")] for row in table["label"].to_pylist()]
    )
    constant = np.tile([1, 1, 0], (len(truth), 1))
    expected = f1_score(truth, constant, average="micro")
    assert result.metrics["micro_f1"].value == pytest.approx(expected)
    assert expected > 0.3


def test_one_neighbour_is_scikit_learns():
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = random.integers(0, 3, 200)
    train, test = features[:200], features[200:]
    theirs = KNeighborsClassifier(1, metric="cosine").fit(train, labels).predict(test)
    ours = vote(test, train, np.eye(3)[labels], 1)
    assert (ours.argmax(1) == theirs).all()
    weighted = KNeighborsClassifier(
        7, metric="cosine", weights=lambda far: np.exp((1 - far) / TEMPERATURE)
    ).fit(train, labels)
    seven = vote(test, train, np.eye(3)[labels], 7)
    np.testing.assert_allclose(seven, weighted.predict_proba(test), atol=1e-4)


@pytest.fixture(scope="module")
def neighbours(tiny_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("neighbours") / "run"
    return folder, run_baseline("knn", rung(tiny_recipe, "knn"), folder)


def test_neighbours_in_the_features_of_a_backbone_tell_colours_apart(neighbours):
    folder, result = neighbours
    assert result.metrics["accuracy"].value > 0.5  # three classes
    assert result.parameters_total > 0 == result.parameters_trained
    assert 0 < result.latency.low <= result.latency_seconds <= result.latency.high < 60
    assert result.latency.threads >= 1
    assert json.loads((folder / "baseline.json").read_text())["baseline"] == "knn"
    assert RunResult.read(folder) == result


def test_a_finished_baseline_is_read_and_another_one_is_refused(neighbours, tiny_recipe):
    folder, result = neighbours
    then = (folder / "run.json").stat().st_mtime_ns
    assert run_baseline("knn", rung(tiny_recipe, "knn"), folder) == result
    assert (folder / "run.json").stat().st_mtime_ns == then
    # what an older version wrote lacks settings that are new
    about = json.loads((folder / "baseline.json").read_text())
    del about["recipe"]["strategy"]["solver"]
    (folder / "baseline.json").write_text(json.dumps(about))
    assert run_baseline("knn", rung(tiny_recipe, "knn"), folder) == result
    with pytest.raises(RunError, match="holds something else"):
        run_baseline("majority", rung(tiny_recipe, "majority"), folder)
