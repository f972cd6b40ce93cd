"""Texts with other labels than one class: pairs, numbers, several classes; the whole main path."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import leave_unverified
from datasets import ClassLabel, Dataset, Features, List, Value
from scipy.stats import pearsonr
from sklearn.metrics import f1_score
from transformers import AutoConfig, AutoTokenizer, pipeline

from ftkit import (
    Backbone,
    Data,
    DataError,
    Full,
    HeadOnly,
    Lora,
    Recipe,
    RecipeError,
    TextClassification,
    TextRegression,
    TextTagging,
    Train,
    finetune,
    runtime,
)
from ftkit.batches import NO_LABEL
from ftkit.check import check
from ftkit.data import load_splits
from ftkit.losses import loss_of
from ftkit.predict import predict
from ftkit.run import make_ready

FRUIT, METAL = ["apple", "pear", "plum", "cherry"], ["iron", "gold", "tin", "lead"]
STRATEGIES = [
    Full(learning_rate=3e-3),
    HeadOnly(learning_rate=1e-2),
    Lora(learning_rate=1e-2, rank=4),
    Lora(learning_rate=1e-2, rank=4, merge=False),
]
NAMES = ["full", "head", "lora", "adapter"]


def write(folder, rows):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def rows():
    """80 texts of fruit and metal words, with what can be told of them."""
    random, found = np.random.default_rng(0), []
    for _ in range(80):
        fruit, metal = random.integers(0, 3, 2)
        metal += (fruit + metal) == 0
        words = [*random.choice(FRUIT, fruit), *random.choice(METAL, metal)]
        found.append(
            {
                "text": " ".join(random.permutation(words)),
                "other": str(random.choice(FRUIT + METAL)),
                "share": float(fruit / (fruit + metal)),
                "kinds": [n for n, there in (("fruit", fruit), ("metal", metal)) if there],
                "fruit": int(fruit > 0),
                "metal": int(metal > 0),
                "same": "yes" if fruit else "no",
            }
        )
    return found


@pytest.fixture
def recipe(rows, checkpoint, tmp_path):
    return Recipe(
        name="bert-words",
        data=Data(path=str(write(tmp_path, rows))),
        backbone=Backbone(id=str(checkpoint("bert"))),
        task=TextClassification(text="text", label="same", max_length=24),
        strategy=Full(learning_rate=3e-3),
        train=Train(epochs=2, batch_size=8),
    )


def pair(recipe):
    return recipe.override({"task.pair": "other"})


def number(recipe):
    return recipe.override({"task": TextRegression(text="text", label="share", max_length=24)})


def tagged(recipe):
    return recipe.override({"task": TextTagging(text="text", label="kinds", max_length=24)})


def test_a_pair_is_read_as_the_tokenizer_reads_pairs(recipe, rows):
    recipe = pair(recipe).override({"task.max_length": 8})
    ready = make_ready(recipe, runtime.start(0))
    splits = load_splits(recipe.data, recipe.task)
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
    splits = load_splits(recipe.data, recipe.task)
    assert "pair" not in splits.train.column_names
    with pytest.raises(DataError, match=r"no column 'othr'.*task.pair=COLUMN"):
        load_splits(recipe.data, recipe.override({"task.pair": "othr"}).task)
    with pytest.raises(DataError, match="cannot be text and pair"):
        load_splits(recipe.data, recipe.override({"task.pair": "text"}).task)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_pairs_train_and_the_pipeline_gives_the_predictions(strategy, recipe, rows, tmp_path):
    finetune(pair(recipe).override({"strategy": strategy}), tmp_path / "run")
    if not getattr(strategy, "merge", True):
        return  # finetune has verified the adapter in a fresh process
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    names = json.loads(table.schema.metadata[b"label_names"])
    classify = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
    found = zip(table["index"].to_pylist(), table["probability"].to_pylist(), strict=True)
    for index, wanted in found:
        given = {"text": rows[index]["text"], "text_pair": rows[index]["other"]}
        scores = {a["label"]: a["score"] for a in classify(given, top_k=None)}
        assert [scores[name] for name in names] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_numbers_train_and_the_pipeline_gives_them(strategy, recipe, rows, tmp_path):
    result = finetune(number(recipe).override({"strategy": strategy}), tmp_path / "run")
    assert list(result.metrics) == ["r2", "rmse", "mae", "pearson", "spearman"]
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    shares = [rows[index]["share"] for index in table["index"]]
    assert table["label"] == pytest.approx(shares)
    wanted = pearsonr(table["prediction"], shares).statistic
    assert result.metrics["pearson"].value == pytest.approx(wanted, abs=1e-6)
    assert (tmp_path / "run" / "plots" / "predictions.png").is_file()
    config = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    assert (config.num_labels, config.problem_type) == (1, "regression")
    if getattr(strategy, "merge", True):
        tell = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
        texts = [rows[index]["text"] for index in table["index"]]
        found = [answer["score"] for answer in tell(texts, function_to_apply="none")]
        # features of a new tiny model hardly differ, so its head is steep and rounding shows
        assert found == pytest.approx(table["prediction"], abs=1e-3)


def test_a_share_is_learned(recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    result = finetune(number(recipe).override({"train.epochs": 12}), tmp_path / "run")
    assert result.metrics["pearson"].value > 0.8


@pytest.mark.parametrize("given", [None, 0.3], ids=["chosen", "given"])
def test_a_threshold_is_kept_with_the_model_and_used(given, recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    monkeypatch.setattr("ftkit.thresholds.LEAST_LABELS", 5)
    recipe = tagged(recipe).override({"task.threshold": given, "train.epochs": 1})
    result = finetune(recipe, tmp_path / "run")
    threshold = result.task["threshold"]
    assert (threshold != 0.5) if given is None else (threshold == given)
    assert AutoConfig.from_pretrained(tmp_path / "run" / "model").threshold == threshold
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"where its probability is above {threshold:.3g}" in card
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    told = [[n for n, p in zip(("fruit", "metal"), row, strict=True) if p > threshold]
            for row in table["probability"]]  # fmt: skip
    assert table["prediction"] == told
    again = predict(tmp_path / "run", [recipe.data.path])
    wanted = dict(zip(table["index"], table["prediction"], strict=True))
    found = dict(zip(again.columns["index"], again.columns["prediction"], strict=True))
    assert {index: found[index] for index in wanted} == wanted


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_tags_train_and_the_pipeline_gives_them(strategy, recipe, rows, tmp_path):
    result = finetune(tagged(recipe).override({"strategy": strategy}), tmp_path / "run")
    assert list(result.metrics) == ["micro_f1", "macro_f1", "auroc", "accuracy"]
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    kinds = [rows[index]["kinds"] for index in table["index"]]
    assert table["label"] == kinds
    marks = [[[n in row for n in ("fruit", "metal")] for row in side]
             for side in (kinds, table["prediction"])]  # fmt: skip
    wanted = f1_score(*marks, average="micro")
    assert result.metrics["micro_f1"].value == pytest.approx(wanted)
    assert (tmp_path / "run" / "plots" / "precision_recall.png").is_file()
    config = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    assert config.problem_type == "multi_label_classification"
    if getattr(strategy, "merge", True):
        tell = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
        texts = [rows[index]["text"] for index in table["index"]]
        for answer, scores in zip(tell(texts, top_k=None), table["probability"], strict=True):
            found = {a["label"]: a["score"] for a in answer}  # sigmoid: the config says so
            assert [found["fruit"], found["metal"]] == pytest.approx(scores, abs=1e-4)


def test_columns_of_0_and_1_are_the_same_tags(recipe, tmp_path):
    lists = load_splits(recipe.data, tagged(recipe).task)
    task = TextTagging(text="text", labels=("fruit", "metal"))
    marks = load_splits(recipe.data, task)
    assert marks.label_names == lists.label_names == ("fruit", "metal")
    for role in ("train", "validation", "test"):
        assert getattr(marks, role)["label"][:] == getattr(lists, role)["label"][:]


def test_numbers_as_tags_and_rows_without_any(recipe, tmp_path):
    found = [{"text": f"word {n}", "tags": [[3], [10, 3], []][n % 3]} for n in range(30)]
    data = Data(path=str(write(tmp_path, found)))
    splits = load_splits(data, TextTagging())
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
    splits = load_splits(Data(path=str(tmp_path / "train.parquet")), TextTagging())
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
    given = loss_of(task, Train(), labels.numpy(), logits.shape[1])
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
        ([{"label": None}], "tags", "1 rows have no label"),
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


def test_the_best_settings_of_a_head_are_searched_for_numbers_too(recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    search = {"kind": "head", "search": True, "solver": "adamw", "least_steps": 0}
    head = {"strategy": search, "train.epochs": 1}
    for task in (number, tagged):
        result = finetune(task(recipe).override(head), tmp_path / task.__name__)
        assert result.strategy["search"]


def test_a_filler_row_has_labels_that_do_not_count(recipe):
    from ftkit.batches import Keyed, is_label

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
