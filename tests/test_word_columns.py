"""Rows of words with a tag each: read, checked, refused."""

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from named_words import LABELS, make_rows, recipe_for, write

from ftkit import Data, DataError, ModelError, RecipeError, TokenClassification, finetune
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.planning.check import check
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture
def recipe(rows, checkpoint, tmp_path):
    return recipe_for(write(tmp_path / "data", rows), checkpoint("bert"))


def test_tags_as_class_labels_keep_their_order(rows, tmp_path):
    features = Features(
        {"id": Value("string"), "tokens": List(Value("string")),
         "ner_tags": List(ClassLabel(names=LABELS)), "pos_tags": List(Value("int64"))}
    )  # fmt: skip
    table = {
        "id": [str(n) for n in range(80)],
        "tokens": [row["tokens"] for row in rows],
        "ner_tags": [[LABELS.index(tag) for tag in row["ner_tags"]] for row in rows],
        "pos_tags": [[0] * len(row["tokens"]) for row in rows],
    }
    Dataset.from_dict(table, features=features).to_parquet(tmp_path / "train.parquet")
    splits = load_splits(Data(path=str(tmp_path / "train.parquet")), task_of(TokenClassification()))
    assert splits.label_names == tuple(LABELS)
    assert set(splits.test.column_names) == {"tokens", "label", "index"}
    for words, labels, index in zip(*(splits.test[c][:] for c in ("tokens", "label", "index"))):  # noqa: B905
        assert words == rows[index]["tokens"]
        assert labels == table["ner_tags"][index]


def test_sentences_of_one_length_are_rows_as_any_others(recipe, tmp_path):
    found = [{"tokens": ["a", "word"], "ner_tags": [["O", "B-X"], ["B-X", "O"]][n % 2]}
             for n in range(30)]  # fmt: skip
    same = recipe.override({"data": write(tmp_path / "same", found)})
    rows = make_ready(same, runtime.start(0)).inputs.train
    assert {tuple(labels) for labels in rows.labels} == {(0, 1), (1, 0)}


def test_check_looks_at_words(recipe, rows):
    recipe = recipe.override({"data": recipe.data.model_copy(update={"test_rows": 8})})
    report = check(recipe)
    assert not report.errors
    assert "a class" in report.splits["train"]["spread"]
    assert report.plan.estimate.seconds_per_step > 0
    assert list(report.lines())


def test_check_finds_equal_sentences(recipe, rows, tmp_path):
    twice = write(tmp_path / "twice", [*rows, *rows]).model_copy(update={"copies": "apart"})
    again = recipe.override({"data": twice})
    assert any("also in train" in found.message for found in check(again).findings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ner_tags": ["O"]}, "row 20: 2 words in 'tokens' and 1 tags in 'ner_tags'"),
        ({"tokens": [], "ner_tags": []}, "train row 20: it has no words|it has no words"),
        ({"tokens": ["a", " "]}, "one of its words is empty"),
        ({"ner_tags": ["O", None]}, "row 20: None is no class"),
        ({"ner_tags": ["O", 3]}, "row 20: .* write all labels in one way"),
        ({"ner_tags": "O"}, "row 20: expected a list of classes, got 'O'"),
        ({"ner_tags": None}, "1 row has no label"),
        ({"tokens": "a word"}, "row 20: expected a list of words, got 'a word'"),
    ],
)
def test_bad_rows_are_told_in_one_line(change, says, recipe, tmp_path):
    found = [{"tokens": ["a", "word"], "ner_tags": [["O", "B-X"], ["O", "O"]][n % 2]}
             for n in range(30)]  # fmt: skip
    found[20].update(change)
    bad = recipe.override({"data": write(tmp_path / "bad", found)})
    with pytest.raises(DataError, match=says) as error:
        finetune(bad, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task.tokens": "toknes"}, "no column 'toknes'"),
        ({"task.label": "tags"}, "no column 'tags'"),
    ],
)
def test_a_missing_column_is_named(changes, says, recipe, tmp_path):
    with pytest.raises(DataError, match=says):
        finetune(recipe.override(changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_lbfgs_and_images_are_refused(recipe, checkpoint):
    with pytest.raises(RecipeError, match="lbfgs is not for token-classification"):
        recipe.override({"strategy": {"kind": "head", "solver": "lbfgs"}})
    with pytest.raises(ModelError, match="cannot do token-classification"):
        make_ready(recipe.override({"backbone.id": str(checkpoint("vit"))}), runtime.start(0))
