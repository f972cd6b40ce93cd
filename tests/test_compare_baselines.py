"""What training must beat is what scikit-learn says it is."""

import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from ftkit import Backbone, Data, Recipe, RunError, RunResult, TextTagging
from ftkit.compare.baselines import run_baseline
from ftkit.compare.ladder import build_ladder
from ftkit.compare.neighbours import TEMPERATURE, vote
from ftkit.data.splits import labels_of
from ftkit.registry import find
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits


def rung(recipe, kind):
    return build_ladder([recipe], [kind]).rungs[0].recipe


def test_the_majority_is_scikit_learns(tmp_path):
    recipe = rung(find("mlp-tictactoe"), "majority")
    result = run_baseline("majority", recipe, tmp_path / "run")
    splits = load_splits(recipe.data, task_of(recipe.task))
    train, test = labels_of(splits.train), labels_of(splits.test)
    dummy = DummyClassifier(strategy="prior").fit(train[:, None], train)
    assert result.metrics["accuracy"].value == pytest.approx(dummy.score(test[:, None], test))
    told = pq.read_table(tmp_path / "run" / "predictions.parquet")
    expected = dummy.predict_proba(test[:, None])
    np.testing.assert_allclose(np.array(told["probability"].to_pylist()), expected, atol=1e-5)
    assert told["index"].to_pylist() == splits.test["index"][:]
    assert (result.parameters_total, result.parameters_trained) == (0, 0)
    assert result.strategy["kind"] == "majority"


def test_a_mean_explains_nothing_of_numbers(tmp_path):
    result = run_baseline("majority", rung(find("mlp-diabetes"), "majority"), tmp_path / "run")
    assert -0.2 < result.metrics["r2"].value <= 0


def tagged(folder, shares, N=200, **task):
    """A recipe of N rows of tags that are there so often, and (N, C) which of them are."""
    names = tuple(f"tag{c}" for c in range(len(shares)))
    tags = np.random.default_rng(2).random((N, len(shares))) < shares
    lines = [f"row {n},{','.join(str(int(v)) for v in row)}" for n, row in enumerate(tags)]
    (folder / "tags.csv").write_text("\n".join([",".join(["text", *names]), *lines]))
    recipe = Recipe(
        name="tags",
        data=Data(path=str(folder / "tags.csv")),
        backbone=Backbone(id="none"),
        task=TextTagging(labels=names, **task),
    )
    return recipe, names


def marks(column, names):
    """(N, C) which of the names each row has."""
    return np.array([[name in row for name in names] for row in column.to_pylist()]).astype(int)


@pytest.mark.parametrize("threshold", [None, 0.2, 0.5])
def test_the_constant_tags_are_the_best_of_all_sets(tmp_path, threshold):
    """Every set of four classes, by scikit-learn's micro-F1 on the training rows.

    Whatever threshold the recipe has for its models: it is not one of the shares of the classes.
    """
    recipe, names = tagged(tmp_path, [0.4, 0.35, 0.22, 0.05], threshold=threshold)
    splits = load_splits(recipe.data, task_of(recipe.task))
    truth = task_of(recipe.task).label_array(splits.train, 4).astype(int)

    def f1(told):
        return f1_score(truth, np.tile(told, (len(truth), 1)), average="micro", zero_division=0)

    best = max(itertools.product((0, 1), repeat=4), key=f1)
    result = run_baseline("majority", rung(recipe, "majority"), tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    assert (marks(table["prediction"], names) == best).all()
    assert f1(best) > f1((1, 1, 1, 1)) > f1((0, 0, 0, 0)) == 0
    expected = f1_score(
        marks(table["label"], names), marks(table["prediction"], names), average="micro"
    )
    assert result.metrics["micro_f1"].value == pytest.approx(expected)
    # what stands there as probabilities is the share of the training rows
    told = np.array(table["probability"].to_pylist())
    np.testing.assert_allclose(told, np.broadcast_to(truth.mean(0), told.shape), atol=1e-6)


@pytest.mark.parametrize("given", [None, 0.2])
def test_neighbours_of_tags_are_cut_where_scikit_learns_f1_is_best(given):
    """Votes of 0.35 too many for each class that is there, of which half is too high a share."""
    random = np.random.default_rng(1)
    truth = (random.random((300, 3)) < [0.1, 0.3, 0.2]).astype(int)
    votes = np.clip(0.35 * truth + 0.3 * random.random((300, 3)), 0, 1)
    task = task_of(TextTagging(labels=("a", "b", "c"), threshold=given))
    logits = task.outputs_of_means(votes)
    np.testing.assert_allclose(expit(logits), votes.clip(1e-6), atol=1e-9)
    decided = task.with_best_threshold(truth, logits)
    every = [f1_score(truth, votes >= value, average="micro") for value in np.unique(votes)]
    found = decided.score(truth, logits)["micro_f1"]
    assert found == pytest.approx(max(every))
    assert found > f1_score(truth, votes > 0.5, average="micro", zero_division=0) + 0.2


def test_where_every_class_is_best_told_all_are():
    """Votes of 0 are told too: the threshold lies below the least probability."""
    truth = np.ones((5, 2), int)
    task = task_of(TextTagging(labels=("a", "b")))
    logits = task.outputs_of_means(np.array([[1.0, 0.0]] * 5))
    assert task.with_best_threshold(truth, logits).score(truth, logits)["micro_f1"] == 1


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
