"""A class for each word: labels on first tokens, the loss, the whole main path."""

import json
import logging
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import leave_unverified
from named_words import LABELS, make_rows, recipe_for, write
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from test_launch import launch
from transformers import AutoModelForTokenClassification, AutoTokenizer, RobertaTokenizer, pipeline

from ftkit import Full, HeadOnly, Lora, Train, finetune
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits
from ftkit.tasks.losses import is_label
from ftkit.training.batches import Keyed


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture
def recipe(rows, checkpoint, tmp_path):
    return recipe_for(write(tmp_path / "data", rows), checkpoint("bert"))


def test_the_first_token_of_each_word_has_its_label(recipe, rows):
    ready = make_ready(recipe, runtime.start(0))
    splits = load_splits(recipe.data, task_of(recipe.task))
    assert splits.label_names == tuple(sorted(LABELS))
    tokenizer = AutoTokenizer.from_pretrained(recipe.backbone.id)
    for place in range(len(splits.train)):
        example, row = ready.inputs.train[place], rows[splits.train["index"][place]]
        wanted, ids = [], []
        for word, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
            ids += pieces
            wanted += [splits.label_names.index(tag)] + [-100] * (len(pieces) - 1)
        assert example["input_ids"].tolist() == [1, *ids, 2]
        assert example["labels"].tolist() == [-100, *wanted, -100]


def test_words_that_are_cut_off_are_told_to_be_in_no_name(recipe, rows, caplog, tmp_path):
    recipe = recipe.override({"task.max_length": 8})
    with caplog.at_level(logging.INFO):
        finetune(recipe, tmp_path / "run")
    assert "words stand beyond 8 tokens" in caplog.text
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert any(None in row for row in table["prediction"])
    tokenizer = AutoTokenizer.from_pretrained(recipe.backbone.id)
    for words, labels, found in zip(
        table["tokens"], table["label"], table["prediction"], strict=True
    ):
        assert len(words) == len(labels) == len(found)
        pieces = np.cumsum([0] + [len(tokenizer.tokenize(word)) for word in words])[:-1]
        assert [told is not None for told in found] == (pieces < 6).tolist()
    told = [[p or "O" for p in row] for row in table["prediction"]]
    result = json.loads((tmp_path / "run" / "run.json").read_text())
    wanted = recall_score(table["label"], told, zero_division=0)
    assert result["metrics"]["recall"]["value"] == pytest.approx(wanted)
    assert result["metrics"]["accuracy"]["value"] == accuracy_score(table["label"], told)
    count = sum(row.count(None) for row in table["prediction"])
    assert result["unseen_words"] == count > 0
    assert f"{count} words of the test texts" in (tmp_path / "run/model/README.md").read_text()


@pytest.mark.parametrize(
    "strategy",
    [
        Full(learning_rate=5e-3),
        HeadOnly(learning_rate=1e-2),
        Lora(learning_rate=1e-2, rank=4),
        Lora(learning_rate=1e-2, rank=4, merge=False),
    ],
    ids=["full", "head", "lora", "adapter"],
)
def test_the_pipeline_gives_the_predictions(strategy, recipe, rows, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        result = finetune(recipe.override({"strategy": strategy}), tmp_path / "run")
    if strategy.kind == "head":
        assert "answers for every token" in caplog.text
    assert list(result.metrics) == ["f1", "precision", "recall", "accuracy"]
    assert result.latency.low <= result.latency.median <= result.latency.high
    assert result.latency_seconds == result.latency.median
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert table["label"] == [rows[index]["ner_tags"] for index in table["index"]]
    assert (tmp_path / "run" / "plots" / "confusion_matrix.png").is_file()
    for name, wanted in (
        ("f1", f1_score), ("precision", precision_score), ("recall", recall_score)
    ):  # fmt: skip
        value = wanted(table["label"], table["prediction"], zero_division=0)
        assert result.metrics[name].value == pytest.approx(value)
    assert result.metrics["accuracy"].value == accuracy_score(table["label"], table["prediction"])
    if not getattr(strategy, "merge", True):
        return  # finetune has verified the adapter in a fresh process
    tell = pipeline("token-classification", model=str(tmp_path / "run" / "model"))
    for words, wanted in zip(table["tokens"], table["prediction"], strict=True):
        (tokens,) = tell([words], is_split_into_words=True, ignore_labels=[])
        starts = np.cumsum([0] + [len(word) + 1 for word in words])
        found = {token["start"]: token["entity"] for token in tokens}
        assert [found[start] for start in starts[:-1]] == wanted


def test_names_are_learned(recipe, rows, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    easy = [
        {**row, "ner_tags": [tag.replace("I-", "B-") for tag in row["ner_tags"]]} for row in rows
    ]
    recipe = recipe.override({"data": write(tmp_path / "easy", easy), "train.epochs": 20})
    assert finetune(recipe, tmp_path / "run").metrics["f1"].value > 0.8


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "gpt2"])
def test_logits_of_words_do_not_depend_on_padding_or_batches(family, recipe, checkpoint):
    machine = runtime.start(0)
    recipe = recipe.override({"backbone.id": str(checkpoint(family))})
    ready = make_ready(recipe, machine)
    test = ready.inputs.test
    outputs = task_of(recipe.task).predict(ready.model, test, recipe.train, machine)
    assert outputs.names == ready.splits.label_names
    for row in range(len(test)):
        batch = test.collate([test[row]])
        inputs = {name: v for name, v in batch.items() if name not in ("labels", "index")}
        with torch.inference_mode():
            alone = ready.model.eval()(**inputs)["logits"][0]
        first = batch["labels"][0] != -100
        assert np.allclose(alone[first].numpy(), outputs.logits[row], atol=1e-5)


def test_a_tokenizer_of_bytes_takes_words(recipe, tmp_path, checkpoint):
    folder = tmp_path / "roberta"
    shutil.copytree(checkpoint("roberta"), folder)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = [*"abcdefghijklmnopqrstuvwxyz-", "Ġ"]
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    (folder / "tokenizer.json").unlink()
    RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=64).save_pretrained(folder)
    finetune(recipe.override({"backbone.id": str(folder), "train.epochs": 1}), tmp_path / "run")
    saved = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    ids = saved(["apple"], is_split_into_words=True)["input_ids"]
    assert saved.convert_ids_to_tokens(ids)[1:3] == ["Ġ", "a"]


def test_the_loss_is_the_mean_over_all_words_of_a_step(recipe):
    rows = make_ready(recipe, runtime.start(0)).inputs.train
    batch = rows.collate([rows[row] for row in range(6)])["labels"]
    logits = torch.randn(*batch.shape, 5)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.flatten())
    loss = task_of(recipe.task).loss(Train(), rows.labels, 5)
    assert loss({"logits": logits}, batch) == pytest.approx(wanted.item(), rel=1e-5)
    count = (batch != -100).sum()
    parts = [loss({"logits": logits[s]}, batch[s], count) for s in (slice(2), slice(2, 6))]
    assert float(sum(parts)) == pytest.approx(wanted.item(), rel=1e-5)


def test_class_weights_count_words(recipe):
    rows = make_ready(recipe, runtime.start(0)).inputs.train
    words = np.concatenate(rows.labels).astype(int)
    weights = task_of(recipe.task).loss(Train(class_weights="balanced"), rows.labels, 5).keywords
    assert weights["weights"].numpy() == pytest.approx(len(words) / (5 * np.bincount(words)))


def test_a_filler_row_has_no_word_that_counts(recipe):
    rows = Keyed(make_ready(recipe, runtime.start(0)).inputs.train)
    labels = rows.rows.collate([rows[0], rows[-1]])["labels"]
    assert is_label(labels).any(1).tolist() == [True, False]


def test_the_model_is_one_of_transformers(recipe):
    model = make_ready(recipe, runtime.start(0)).model
    assert type(model) is AutoModelForTokenClassification._model_mapping[type(model.config)]


def test_two_processes_take_the_same_steps_and_tell_the_same_words(recipe, tmp_path):
    """A step's mean is over its words, however they are shared out."""
    backbone = tmp_path / "bert"  # without dropout, which is another one in every process
    shutil.copytree(recipe.backbone.id, backbone)
    config = json.loads((backbone / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (backbone / "config.json").write_text(json.dumps(config))
    recipe = recipe.override({"backbone.id": str(backbone), "train.epochs": 1, "data.test_rows": 9})
    (tmp_path / "mine.json").write_text(recipe.to_json())
    losses, tables = [], []
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        done = launch(processes, "--recipe", tmp_path / "mine.json", "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses.append([e["loss"] for e in entries if "loss" in e])
        tables.append(pq.read_table(out / "predictions.parquet").to_pydict())
    assert len(losses[0]) > 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    one, two = (table.pop("confidence") for table in tables)
    assert tables[0] == tables[1]
    for row, other in zip(one, two, strict=True):
        assert row == pytest.approx(other, abs=1e-3)
