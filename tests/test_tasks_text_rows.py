"""Pairs, numbers and several classes of texts: how rows are read, checked and refused."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from fruit_texts import make_rows, number, pair, recipe_for, tagged, write
from transformers import AutoTokenizer

from ftkit import (
    Data,
    DataError,
    RecipeError,
    TextClassification,
    TextRegression,
    TextTagging,
    Train,
    finetune,
)
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.planning.check import check
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits
from ftkit.training.batches import NO_LABEL


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture
def recipe(rows, checkpoint, tmp_path):
    return recipe_for(write(tmp_path, rows), checkpoint("bert"))


def test_a_pair_is_read_as_the_tokenizer_reads_pairs(recipe, rows):
    recipe = pair(recipe).override({"task.max_length": 8})
    ready = make_ready(recipe, runtime.start(0))
    splits = load_splits(recipe.data, task_of(recipe.task))
    assert set(splits.train.column_names) == {"text", "pair", "label", "index"}
    tokenizer = AutoTokenizer.from_pretrained(recipe.backbone.id)
    inputs = ready.inputs.train
    for place in range(len(inputs)):
        row = rows[splits.train["index"][place]]
        wanted = tokenizer(row["text"], row["other"], truncation="longest_first", max_length=8)[
            "input_ids"
        ]
        assert inputs[place]["input_ids"].tolist() == wanted
    alone = make_ready(recipe.override({"task.pair": None}), runtime.start(0)).inputs.train
    assert any(len(inputs[i]["input_ids"]) != len(alone[i]["input_ids"]) for i in range(10))


def test_a_pair_is_never_guessed(recipe):
    splits = load_splits(recipe.data, task_of(recipe.task))
    assert "pair" not in splits.train.column_names
    with pytest.raises(DataError, match=r"no column 'othr'.*task.pair=COLUMN"):
        load_splits(recipe.data, task_of(recipe.override({"task.pair": "othr"}).task))
    with pytest.raises(DataError, match="cannot be text and pair"):
        load_splits(recipe.data, task_of(recipe.override({"task.pair": "text"}).task))


def test_columns_of_0_and_1_are_the_same_tags(recipe, tmp_path):
    lists = load_splits(recipe.data, task_of(tagged(recipe).task))
    task = TextTagging(text="text", labels=("fruit", "metal"))
    marks = load_splits(recipe.data, task_of(task))
    assert marks.label_names == lists.label_names == ("fruit", "metal")
    for role in ("train", "validation", "test"):
        assert getattr(marks, role)["label"][:] == getattr(lists, role)["label"][:]


def test_numbers_as_tags_and_rows_without_any(recipe, tmp_path):
    found = [{"text": f"word {n}", "tags": [[3], [10, 3], []][n % 3]} for n in range(30)]
    data = Data(path=str(write(tmp_path, found)))
    splits = load_splits(data, task_of(TextTagging()))
    assert splits.label_names == ("3", "10")
    ready = make_ready(recipe.override({"data": data, "task": TextTagging()}), runtime.start(0))
    labels = ready.inputs.train.labels
    assert labels.dtype == np.float32
    assert {tuple(row) for row in labels} == {(1, 0), (1, 1), (0, 0)}


def test_class_labels_keep_their_order(tmp_path):
    names = ["zebra", "ape"]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
    rows = Dataset.from_dict(
        {"text": [f"text {n}" for n in range(20)], "labels": [[n % 2] for n in range(20)]},
        features=features,
    )
    rows.to_parquet(tmp_path / "train.parquet")
    splits = load_splits(Data(path=str(tmp_path / "train.parquet")), task_of(TextTagging()))
    assert splits.label_names == ("zebra", "ape")


@pytest.mark.parametrize("task", [number, tagged, pair], ids=["numbers", "tags", "pair"])
def test_check_looks_at_them(task, recipe):
    report = check(task(recipe))
    assert not report.errors
    assert report.plan.estimate.seconds > 0
    assert list(report.lines())


def test_check_counts_the_tags_of_a_class(recipe, rows):
    spread = check(tagged(recipe)).splits["train"]["spread"]
    assert "labels" in spread
    assert "a class" in spread


@pytest.mark.parametrize(
    ("task", "logits", "labels", "loss"),
    [
        (TextRegression(), torch.randn(6, 1), torch.randn(6), torch.nn.functional.mse_loss),
        (
            TextTagging(),
            torch.randn(6, 3),
            torch.randint(2, (6, 3)).float(),
            torch.nn.functional.binary_cross_entropy_with_logits,
        ),
    ],
    ids=["numbers", "tags"],
)
def test_losses_of_micro_batches_add_up_to_torchs_mean(task, logits, labels, loss):
    given = task_of(task).loss(Train(), labels.numpy(), logits.shape[1])
    count = torch.tensor(labels.numel())
    filled = labels.clone()
    filled[4:] = float("nan")  # rows that only fill a batch
    wanted = loss(logits.reshape(labels.shape), labels)
    parts = [given({"logits": logits[s]}, labels[s], count) for s in (slice(4), slice(4, 6))]
    assert sum(parts) == pytest.approx(wanted.item(), rel=1e-6)
    half = given({"logits": logits}, filled)
    assert half == pytest.approx(loss(logits[:4].reshape(labels[:4].shape), labels[:4]).item())


@pytest.mark.parametrize(
    ("lines", "task", "says"),
    [
        ([{"label": ["a", None]}], "tags", "row 20: None is no class"),
        ([{"label": "a"}], "tags", "row 20: expected a list of classes, got 'a'"),
        ([{"label": ["a", 3]}], "tags", "row 20: .* where row"),
        ([{"text": " "}], "tags", "the text is empty"),
        ([{"label": [""]}], "tags", "row 20: '' is no class"),
        ([{"fruit": 2}], "marks", "column 'fruit', split 'train', row 20: expected 0 or 1, got 2"),
        ([], "missing", "no column 'metal'"),
        ([{"label": None}], "tags", "1 row has no label"),
        ([], "numbers", "row 0: expected a number"),
        ([{"pair": ""}], "pair", "the pair is empty"),
    ],
)
def test_bad_rows_are_told_in_one_line(lines, task, says, recipe, tmp_path):
    good = [
        {"text": f"a text {n}", "label": [["a"], ["b"]][n % 2], "fruit": n % 2, "pair": "word"}
        for n in range(30)
    ]
    for place, change in enumerate(lines):
        good[20 + place].update(change)
    tasks = {
        "tags": TextTagging(text="text", label="label"),
        "marks": TextTagging(text="text", labels=("fruit",)),
        "missing": TextTagging(text="text", labels=("fruit", "metal")),
        "numbers": TextRegression(text="text", label="label"),
        "pair": TextClassification(text="text", pair="pair", label="fruit"),
    }
    folder = tmp_path / "bad"
    folder.mkdir()
    bad = recipe.override({"data": Data(path=str(write(folder, good))), "task": tasks[task]})
    with pytest.raises(DataError, match=says) as error:
        finetune(bad, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train.class_weights": "balanced"}, "class_weights is not for text-tagging"),
        ({"train.label_smoothing": 0.1}, "label_smoothing is not for text-tagging"),
        ({"task.labels": ["fruit", "metal"]}, "give label, one column of lists, or labels"),
        ({"train.best_by": "pearson"}, "train.best_by"),
    ],
)
def test_settings_that_have_no_meaning_for_tags_are_refused(changes, says, recipe):
    with pytest.raises(RecipeError, match=says):
        tagged(recipe).override(changes)


def test_a_filler_row_has_labels_that_do_not_count(recipe):
    from ftkit.tasks.losses import is_label
    from ftkit.training.batches import Keyed

    for task in (number, tagged, pair):
        rows = Keyed(make_ready(task(recipe), runtime.start(0)).inputs.train)
        batch = rows.rows.collate([rows[0], rows[-1]])
        counts = is_label(batch["labels"]).reshape(2, -1)
        assert counts.all(1).tolist() == [True, False]
    assert NO_LABEL == -100


def test_a_head_of_numbers_is_made_of_any_backbone(recipe, checkpoint):
    for family in ("distilbert", "roberta", "gpt2"):
        changed = number(recipe).override({"backbone.id": str(checkpoint(family))})
        model = make_ready(changed, runtime.start(0)).model
        assert model.config.num_labels == 1
