"""A linear model of words and boosted trees: what scikit-learn says, on rows of every task."""

import csv
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import concatenate_datasets
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier

from ftkit import (
    Backbone,
    Data,
    Mlp,
    Recipe,
    RecipeError,
    TabularClassification,
    TextClassification,
    TextRegression,
    TextTagging,
)
from ftkit.cli.main import main
from ftkit.compare.baselines import run_baseline
from ftkit.compare.classical import WORD
from ftkit.compare.finished_runs import Run
from ftkit.compare.ladder import build_ladder
from ftkit.compare.report.shown_rows import inputs_of
from ftkit.registry import find
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

GOOD, BAD = ("fine", "lovely", "warm", "kind"), ("awful", "cold", "rude", "broken")
REST = ("the", "room", "was", "and", "dinner", "very", "we", "stayed", "there")


def texts_of(count, seed=0):
    """(texts, how many good words less bad ones each has)."""
    random = np.random.default_rng(seed)
    told, texts = [], []
    for _ in range(count):
        good, bad = random.integers(0, 4, 2)
        words = [*random.choice(GOOD, good), *random.choice(BAD, bad), *random.choice(REST, 5)]
        texts.append(" ".join(random.permutation(words)))
        told.append(int(good) - int(bad))
    return texts, told


def recipe_of(folder, columns, task, backbone=None):
    """A recipe of rows in a file."""
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return Recipe(
        name="rows",
        data=Data(path=str(folder / "rows.csv")),
        backbone=backbone or Backbone(id="none"),
        task=task,
    )


def run(recipe, kind, folder):
    (rung,) = build_ladder([recipe], [kind]).rungs
    return run_baseline(kind, rung.recipe, folder), pq.read_table(folder / "predictions.parquet")


def rows_of(recipe):
    """The splits; training and validation rows together; the task as it reads them."""
    splits = load_splits(recipe.data, task_of(recipe.task))
    both = concatenate_datasets([splits.train, splits.validation])
    return splits, both, task_of(splits.task or recipe.task)


def vectors(settings, both, test):
    """What scikit-learn makes of the texts: words with pairs of them, or parts of them."""
    kind = {"words": ("word", (1, 2)), "characters": ("char_wb", (2, 4))}[settings["grams"]]
    grams = TfidfVectorizer(
        analyzer=kind[0],
        ngram_range=kind[1],
        token_pattern=WORD,
        max_features=50_000,
        sublinear_tf=True,
    )
    return grams.fit_transform(both["text"][:]), grams.transform(test["text"][:])


def test_classes_of_texts_are_told_as_logistic_regression_does(tmp_path):
    texts, told = texts_of(300)
    labels = ["good" if value > 0 else "bad" if value < 0 else "even" for value in told]
    recipe = recipe_of(tmp_path, {"text": texts, "label": labels}, TextClassification())
    result, table = run(recipe, "tfidf", tmp_path / "run")
    splits, both, task = rows_of(recipe)
    X, test = vectors(result.strategy, both, splits.test)
    theirs = LogisticRegression(C=result.strategy["C"], max_iter=1000)
    theirs.fit(X, task.label_array(both, 3))
    expected = theirs.predict_proba(test)
    np.testing.assert_allclose(np.array(table["probability"].to_pylist()), expected, atol=0.02)
    assert result.metrics["accuracy"].value > 0.8
    assert result.strategy["kind"] == "tfidf"
    assert result.seconds.train > 0
    assert result.model_bytes > 1000
    assert 0 < result.latency.low <= result.latency.high
    assert json.loads((tmp_path / "run" / "baseline.json").read_text())["baseline"] == "tfidf"
    assert not (tmp_path / "run" / "model").exists()


def test_the_grams_are_those_that_do_best_on_validation_rows(tmp_path):
    """Words made up anew in every row, which end in what tells them apart."""
    random = np.random.default_rng(0)

    def word(end):
        return "".join(random.choice(list("abcdefgh"), 6)) + end

    labels = [("one", "two")[n % 2] for n in range(200)]
    texts = [" ".join(word("zz" if one == "one" else "yy") for _ in range(3)) for one in labels]
    recipe = recipe_of(tmp_path, {"text": texts, "label": labels}, TextClassification())
    result, _ = run(recipe, "tfidf", tmp_path / "run")
    assert result.strategy["grams"] == "characters"
    assert result.metrics["accuracy"].value == 1


def test_signs_and_emoji_alone_are_words(tmp_path):
    labels = ["good", "bad"] * 40
    texts = [{"good": "😀 !", "bad": "😡 ?"}[one] for one in labels]
    recipe = recipe_of(tmp_path, {"text": texts, "label": labels}, TextClassification())
    result, _ = run(recipe, "tfidf", tmp_path / "run")
    assert result.metrics["accuracy"].value == 1


def test_numbers_of_texts_are_told_as_ridge_does(tmp_path):
    texts, told = texts_of(300)
    recipe = recipe_of(tmp_path, {"text": texts, "mark": told}, TextRegression(label="mark"))
    result, table = run(recipe, "tfidf", tmp_path / "run")
    splits, both, task = rows_of(recipe)
    X, test = vectors(result.strategy, both, splits.test)
    theirs = Ridge(1 / result.strategy["C"]).fit(X, task.label_array(both, 0))
    np.testing.assert_allclose(table["prediction"].to_numpy(), theirs.predict(test), atol=1e-3)
    assert result.metrics["r2"].value > 0.7


def test_several_classes_of_texts_are_told_one_by_one(tmp_path):
    texts, _ = texts_of(300)
    marks = {
        "good": [int(any(word in text for word in GOOD)) for text in texts],
        "bad": [int(any(word in text for word in BAD)) for text in texts],
        "all": [1] * len(texts),  # a class of every row needs no model
    }
    task = TextTagging(labels=tuple(marks))
    recipe = recipe_of(tmp_path, {"text": texts, **marks}, task)
    result, table = run(recipe, "tfidf", tmp_path / "run")
    splits, both, task = rows_of(recipe)
    X, test = vectors(result.strategy, both, splits.test)
    theirs = OneVsRestClassifier(LogisticRegression(C=result.strategy["C"], max_iter=1000))
    with pytest.warns(UserWarning, match="present in all"):
        theirs.fit(X, task.label_array(both, 3))
    expected = theirs.predict_proba(test)
    np.testing.assert_allclose(np.array(table["probability"].to_pylist()), expected, atol=0.02)
    assert result.metrics["micro_f1"].value > 0.9
    assert 0 < result.strategy["threshold"] < 1


def test_the_second_text_of_a_pair_is_read(tmp_path):
    first = texts_of(240)[0]
    second = [" ".join(reversed(text.split())) for text in texts_of(240, seed=1)[0]]
    labels = ["good" if value > 0 else "bad" for value in texts_of(240, seed=1)[1]]
    columns = {"premise": first, "hypothesis": second, "label": labels}
    task = TextClassification(text="premise", pair="hypothesis")
    result, _ = run(recipe_of(tmp_path, columns, task), "tfidf", tmp_path / "run")
    assert result.metrics["accuracy"].value > 0.75


def board(folder, count=600):
    """A table whose class no line tells: whether two columns are equal; c has gaps."""
    random = np.random.default_rng(0)
    a, b = random.integers(0, 4, (2, count))
    c = [None if n % 7 == 0 else value for n, value in enumerate(random.normal(size=count))]
    labels = ["same" if one == two else "not" for one, two in zip(a, b, strict=True)]
    columns = {"a": a, "b": b, "c": c, "word": random.choice(["x", "y"], count), "label": labels}
    return recipe_of(folder, columns, TabularClassification(), Mlp())


def test_trees_tell_classes_of_a_table_with_words_and_gaps(tmp_path):
    recipe = board(tmp_path)
    result, table = run(recipe, "boosting", tmp_path / "run")
    assert result.metrics["accuracy"].value > 0.95
    assert np.array(table["probability"].to_pylist()).sum(1) == pytest.approx(1)
    assert (result.strategy["kind"], result.seconds.train > 0) == ("boosting", True)
    shown = inputs_of(Run("boosting", tmp_path / "run", result), table["index"].to_pylist()[:3])
    for one in shown.values():
        ((_, told),) = one["texts"]
        assert re.fullmatch(r"a \d, b \d, (c -?[0-9.e-]+, )?word [xy]", told)


def test_trees_tell_numbers_as_scikit_learns_do(tmp_path):
    recipe = find("mlp-diabetes")
    result, table = run(recipe, "boosting", tmp_path / "run")
    splits, both, task = rows_of(recipe)
    X, test = (np.array(task.raw_inputs(rows)) for rows in (both, splits.test))
    every = [
        HistGradientBoostingRegressor(
            max_iter=trees, l2_regularization=1.0, early_stopping=False, random_state=42
        )
        .fit(X, task.label_array(both, 0))
        .predict(test)
        for trees in range(1, 80)
    ]
    told = table["prediction"].to_numpy()
    assert min(np.abs(told - one).max() for one in every) < 1e-3
    assert result.metrics["r2"].value > 0.3


def test_trees_of_few_rows_still_ask(tmp_path):
    """With 20 rows in each leaf, as many rows as here would be one leaf."""
    columns = {"a": np.arange(30) / 7, "label": ["low"] * 15 + ["high"] * 15}
    recipe = recipe_of(tmp_path, columns, TabularClassification(), Mlp())
    result, _ = run(recipe, "boosting", tmp_path / "run")
    assert result.metrics["accuracy"].value > 0.8


def test_each_stands_on_the_ladder_of_its_rows_alone():
    usual = {
        name: [rung.kind for rung in build_ladder([find(name)]).rungs][:4]
        for name in ("minilm-langid", "mlp-diabetes", "effnet-digits")
    }
    assert usual == {
        "minilm-langid": ["majority", "tfidf", "zeroshot", "knn"],
        "mlp-diabetes": ["majority", "boosting", "knn", "mlp"],
        "effnet-digits": ["majority", "knn", "mlp", "head"],
    }
    with pytest.raises(RecipeError, match="tfidf reads texts, and image-classification has none"):
        build_ladder([find("effnet-digits")], ["tfidf"])
    with pytest.raises(RecipeError, match="boosting reads columns of a table, and text-class"):
        build_ladder([find("minilm-langid")], ["boosting"])


def test_they_stand_in_the_table_of_a_comparison_and_are_not_run_again(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(board(tmp_path, 300).to_json())
    words = ["compare", "mine.json", "--strategies", "majority,boosting", "--out", "both"]
    assert main(words) == 0
    first = capsys.readouterr()
    assert "boosting is better than majority" in " ".join(first.out.split())
    assert main(words) == 0
    assert "holds this run: it is not run again" in " ".join(capsys.readouterr().err.split())
