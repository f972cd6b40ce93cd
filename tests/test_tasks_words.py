"""A class for each word: labels on first tokens, figures by seqeval, the whole main path."""

import json
import logging
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import leave_unverified
from datasets import ClassLabel, Dataset, Features, List, Value
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from test_launch import launch
from transformers import AutoModelForTokenClassification, AutoTokenizer, RobertaTokenizer, pipeline

from ftkit import (
    Backbone,
    Data,
    DataError,
    Full,
    HeadOnly,
    Lora,
    ModelError,
    Recipe,
    RecipeError,
    TokenClassification,
    Train,
    finetune,
    runtime,
)
from ftkit.batches import Keyed, is_label
from ftkit.check import check
from ftkit.data import load_splits
from ftkit.evaluation import predict
from ftkit.losses import loss_of
from ftkit.metrics import measure, score
from ftkit.metrics.words import Tagged
from ftkit.run import make_ready

FRUIT, METAL = ["apple", "pear-plum", "cherry"], ["iron", "gold-tin", "lead"]
LABELS = ["O", "B-FRUIT", "I-FRUIT", "B-METAL", "I-METAL"]


def sentence(random):
    """Words, some of several tokens, with names of one to three of them."""
    words, tags = [], []
    for _ in range(random.integers(1, 5)):
        kind, known = [("FRUIT", FRUIT), ("METAL", METAL)][random.integers(2)]
        for place in range(random.integers(1, 4)):
            words.append(str(random.choice(known)))
            tags.append(f"{'I' if place else 'B'}-{kind}")
        words.append("and")
        tags.append("O")
    return {"tokens": words, "ner_tags": tags}


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    return [sentence(random) for _ in range(80)]


def write(folder, rows):
    folder.mkdir(exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Data(path=str(file))


@pytest.fixture
def recipe(rows, checkpoint, tmp_path):
    return Recipe(
        name="bert-names",
        data=write(tmp_path / "data", rows),
        backbone=Backbone(id=str(checkpoint("bert"))),
        task=TokenClassification(),
        strategy=Full(learning_rate=5e-3),
        train=Train(epochs=2, batch_size=8),
    )


def test_the_first_token_of_each_word_has_its_label(recipe, rows):
    ready = make_ready(recipe, runtime.start(0))
    splits = load_splits(recipe.data, recipe.task, 0)
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


def test_words_that_are_cut_off_are_counted_and_not_measured(recipe, rows, caplog, tmp_path):
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
    seen = [[t for t, p in zip(*row, strict=True) if p is not None]
            for row in zip(table["label"], table["prediction"], strict=True)]  # fmt: skip
    told = [[p for p in row if p is not None] for row in table["prediction"]]
    figures = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]
    assert figures["f1"]["value"] == pytest.approx(f1_score(seen, told, zero_division=0))


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
    assert (result.latency_seconds is None) == (getattr(strategy, "merge", None) is False)
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
    outputs = predict(recipe.task, ready.model, test, recipe.train, machine)
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
    loss = loss_of(recipe.task, Train(), rows.labels, 5)
    assert loss({"logits": logits}, batch) == pytest.approx(wanted.item(), rel=1e-5)
    count = (batch != -100).sum()
    parts = [loss({"logits": logits[s]}, batch[s], count) for s in (slice(2), slice(2, 6))]
    assert float(sum(parts)) == pytest.approx(wanted.item(), rel=1e-5)


def test_class_weights_count_words(recipe):
    rows = make_ready(recipe, runtime.start(0)).inputs.train
    words = np.concatenate(rows.labels).astype(int)
    weights = loss_of(recipe.task, Train(class_weights="balanced"), rows.labels, 5).keywords
    assert weights["weights"].numpy() == pytest.approx(len(words) / (5 * np.bincount(words)))


def test_a_filler_row_has_no_word_that_counts(recipe):
    rows = Keyed(make_ready(recipe, runtime.start(0)).inputs.train)
    labels = rows.rows.collate([rows[0], rows[-1]])["labels"]
    assert is_label(labels).any(1).tolist() == [True, False]


def logits_of(tags, names=LABELS):
    """Logits that tell these tags, None for a word that was not seen."""
    rows = []
    for row in tags:
        told = np.array([np.eye(len(names))[names.index(t)] if t else np.full(len(names), np.nan)
                         for t in row])  # fmt: skip
        rows.append(4 * told.astype(np.float32))
    return Tagged(tuple(names), rows)


def numbers(tags, names=LABELS):
    found = np.empty(len(tags), object)
    found[:] = [[names.index(tag) for tag in row] for row in tags]
    return found


def test_figures_of_a_hand_worked_case():
    truth = [["B-FRUIT", "I-FRUIT", "O"], ["B-METAL", "O"], ["O", "O", "B-METAL"]]
    found = [["B-FRUIT", "O", "O"], ["B-METAL", "O"], ["O", "B-FRUIT", None]]
    scored = score(TokenClassification(), numbers(truth), logits_of(found))
    # names seen: 2 true (the third was cut off), 3 told, 1 right; words: 5 of 7 right
    assert scored["precision"] == pytest.approx(1 / 3)
    assert scored["recall"] == pytest.approx(1 / 2)
    assert scored["f1"] == pytest.approx(2 / 5)
    assert scored["accuracy"] == pytest.approx(5 / 7)
    sure, rest = np.exp(4) / (np.exp(4) + 4), 1 / (np.exp(4) + 4)
    assert scored["loss"] == pytest.approx(-(5 * np.log(sure) + 2 * np.log(rest)) / 7, rel=1e-5)
    measured = measure(TokenClassification(), numbers(truth), logits_of(found))
    assert {n: f.value for n, f in measured.items()} == pytest.approx(
        {name: scored[name] for name in ("f1", "precision", "recall", "accuracy")}
    )
    assert all(f.low <= f.value <= f.high and "bootstrap" in f.method for f in measured.values())


def test_intervals_cover_the_truth():
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        truth = [["B-FRUIT", "O"] for _ in range(120)]
        found = [["B-FRUIT" if random.random() < 0.8 else "O", "O"] for _ in truth]
        recall = measure(TokenClassification(), numbers(truth), logits_of(found), seed)["recall"]
        covered += recall.low <= 0.8 <= recall.high
    assert covered >= 34


def test_tags_that_begin_no_names_are_names_of_one_word():
    names = ["NOUN", "VERB", "DET"]
    truth, found = [["DET", "NOUN", "NOUN", "VERB"]], [["DET", "NOUN", "VERB", "VERB"]]
    scored = score(TokenClassification(), numbers(truth, names), logits_of(found, names))
    assert scored["f1"] == scored["accuracy"] == pytest.approx(3 / 4)


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
    splits = load_splits(Data(path=str(tmp_path / "train.parquet")), TokenClassification(), 0)
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
    again = recipe.override({"data": write(tmp_path / "twice", [*rows, *rows])})
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
        ({"ner_tags": None}, "1 rows have no label"),
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
    with pytest.raises(ModelError, match="does no token-classification"):
        make_ready(recipe.override({"backbone.id": str(checkpoint("vit"))}), runtime.start(0))


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
