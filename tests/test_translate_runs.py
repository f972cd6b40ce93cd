"""Translators through the whole main path: saved, loaded anywhere, and measured again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import leave_unverified
from peft import PeftModel
from phrases import LANGUAGES, recipe_for, write_phrases
from test_launch import launch
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    MarianMTModel,
    MarianTokenizer,
)

from ftkit import Full, Lora, VerificationError, finetune, registry
from ftkit.backbones.pretrained import load_model
from ftkit.cli.main import main
from ftkit.finetuning.finetune import make_ready
from ftkit.finetuning.verify import verify
from ftkit.machine import runtime
from ftkit.tasks import task_of

FAMILIES = ("t5", "marian", "bart", "mbart", "mbart50", "nllb")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_phrases(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def recipe_of(pairs, checkpoint):
    return lambda family, **changes: recipe_for(pairs, family, checkpoint(family), **changes)


VERIFIED = [("t5", "full"), ("marian", "full"), ("mbart", "lora"), ("nllb", "lora")]
"""In a fresh process too, and the adapter beside the model: each takes seconds."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "strategy",
    [Full(learning_rate=3e-3), Lora(learning_rate=1e-2, rank=2)],
    ids=["full", "lora"],
)
def test_a_saved_translator_translates_as_it_was_measured(
    family, strategy, recipe_of, tmp_path, monkeypatch
):
    if (family, strategy.kind) not in VERIFIED:
        leave_unverified(monkeypatch)
    recipe = recipe_of(family, strategy=strategy)
    before = load_model(recipe.backbone, (), 0, task_of(recipe.task))[0]
    result = finetune(recipe, tmp_path / "run")
    assert list(result.metrics) == ["bleu", "chrf", "perplexity"]
    if (family, strategy.kind) in VERIFIED:
        assert 0 < result.latency_seconds < 60
    folder = tmp_path / "run" / "model"
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    assert table.column_names == ["index", "source", "label", "prediction", "loss"]
    sources = [recipe.task.prefix + text for text in table["source"].to_pylist()]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    inputs = tokenizer(sources, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        found = model.generate(**inputs)
    texts = tokenizer.batch_decode(found, skip_special_tokens=True)
    pairs = zip(texts, table["prediction"].to_pylist(), strict=True)
    assert sum(a == b for a, b in pairs) >= len(texts) - 1  # one may be at a tie
    search = json.loads((folder / "generation_config.json").read_text())
    assert search["num_beams"] == 2
    assert search["max_new_tokens"] == 48
    assert model.config.id2label == before.config.id2label  # no classes were put into it
    if strategy.kind == "lora":
        words = model.get_output_embeddings().weight
        assert torch.equal(words, before.get_output_embeddings().weight)


def test_an_adapter_alone_translates(recipe_of, tmp_path, cold):
    strategy = Lora(learning_rate=1e-2, rank=2, merge=False)
    recipe = recipe_of("nllb", strategy=strategy)
    finetune(recipe, tmp_path / "run")
    folder = tmp_path / "run" / "model"
    card = (folder / "README.md").read_text().replace("PATH_OR_REPO", str(folder))
    snippet = card.partition("```python\n")[2].partition("```")[0]
    here = Path(recipe.backbone.id)  # a card tells no path of the machine
    snippet = snippet.replace(f"./{here.name}", str(here)).replace("a text", "red hat")
    names = {}
    exec(snippet, names)
    assert isinstance(names["model"], PeftModel)
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert adapter["modules_to_save"] is None
    assert not any("lm_head" in name or "shared" in name for name in adapter["target_modules"])
    assert any(".decoder." in name and "encoder_attn" in name for name in adapter["target_modules"])
    search = GenerationConfig.from_pretrained(folder)
    assert search.forced_bos_token_id == names["tokenizer"].convert_tokens_to_ids("deu_Latn")
    assert int(names["found"][0, 1]) == search.forced_bos_token_id


def test_the_card_is_about_translation_and_its_snippet_runs(recipe_of, tmp_path):
    finetune(recipe_of("t5"), tmp_path / "run")
    folder = tmp_path / "run" / "model"
    card = (folder / "README.md").read_text()
    assert "It translates texts, `en` into `de`, by beam search (2 beams)" in card
    assert "gave the same translations" in card
    assert "bleu: `nrefs:1|case:mixed" in card
    assert "class" not in card.partition("## Training")[0]
    snippet = card.partition("```python\n")[2].partition("```")[0]
    assert "in German: a text" in snippet
    exec(snippet.replace("PATH_OR_REPO", str(folder)), {})
    assert (tmp_path / "run" / "plots" / "predictions.png").stat().st_size > 5000


def test_a_saved_translator_knows_its_languages(recipe_of, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = recipe_of("nllb", strategy=Full(), **{"train.max_steps": 1})
    finetune(recipe, tmp_path / "run")
    again = {"backbone.id": str(tmp_path / "run" / "model"), "task.source_language": None}
    ready = make_ready(recipe.override(again | {"task.target_language": None}), runtime.start(0))
    assert (ready.processor.src_lang, ready.processor.tgt_lang) == LANGUAGES["nllb"]


def test_a_model_that_is_not_the_measured_one_fails_verification(recipe_of, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe, machine = recipe_of("t5"), runtime.start(0)
    finetune(recipe, tmp_path / "run")
    ready = make_ready(recipe, machine)  # untrained
    outputs = task_of(recipe.task).predict(ready.model, ready.inputs.test, recipe.train, machine)
    with pytest.raises(VerificationError, match="losses after reloading differ"):
        verify(tmp_path / "run" / "model", ready.task, ready.splits, outputs)


def test_the_checkpoint_is_chosen_by_bleu_where_asked_for(recipe_of, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = recipe_of("t5", **{"train.best_by": "chrf", "train.epochs": 2})
    finetune(recipe, tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    entries = [entry for entry in log if "validation_loss" in entry]
    assert [entry["epoch"] for entry in entries] == [0, 1, 2]  # 0: before the first step
    assert all("validation_chrf" in entry for entry in entries)
    cheap = recipe_of("t5")
    finetune(cheap, tmp_path / "cheap")
    log = [json.loads(line) for line in (tmp_path / "cheap" / "log.jsonl").open()]
    for entry in (entry for entry in log if "validation_loss" in entry):
        assert entry["validation_perplexity"] == pytest.approx(np.exp(entry["validation_loss"]))
        assert "validation_chrf" not in entry


def test_check_looks_at_pairs_and_plans_the_run(recipe_of, tmp_path, capsys):
    file = tmp_path / "recipe.json"
    file.write_text(recipe_of("t5").to_json())
    assert main(["check", "--recipe", str(file)]) == 0
    said = capsys.readouterr().out
    assert "texts to write, half of them with" in said
    assert "parameters" in said
    assert "time" in said


@pytest.mark.parametrize("family", ["t5", "marian", "mbart", "nllb"])
@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_the_hub_recipe_runs_on_tiny_checkpoints(
    family, strategy, pairs, checkpoint, tmp_path, monkeypatch
):
    leave_unverified(monkeypatch)  # verified above
    command = ["train", "t5-multi30k", "--smoke", "--strategy", strategy]
    command += ["--data", str(pairs), "--set", "task.source=en", "--set", "task.target=de"]
    command += ["--backbone", str(checkpoint(family)), "--out", str(tmp_path / "run")]
    for name, code in zip(("source", "target"), LANGUAGES.get(family, ()), strict=False):
        command += ["--set", f"task.{name}_language={code}"]
    assert main([*command, "--set", "task.max_length=32"]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]["bleu"]


def test_a_new_translator_learns_multi30k_a_little(shared_data, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = registry.find("bart-cldr").override(
        {
            "data.path": str(shared_data / "multi30k_en_de"),
            "data.train_rows": 500,
            "data.validation_rows": 50,
            "data.test_rows": 20,
            "task.source": "en",
            "task.target": "de",
            "task.max_length": 64,
            "task.beams": 2,
            "train.epochs": 2,
            "train.label_smoothing": 0,
        }
    )
    result = finetune(recipe, tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    _, first, last = (entry["validation_loss"] for entry in log if "validation_loss" in entry)
    assert last < first < np.log(259)  # all bytes alike
    assert result.metrics["perplexity"].value < 40
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    assert len(table) == result.n == 20
    assert 0 <= result.metrics["bleu"].value < 100


def test_marian_reads_by_its_own_tokenizer(pairs, recipe_of, checkpoint, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece", reason="pip install 'ftkit[translation]'")
    folder = tmp_path / "marian"
    folder.mkdir()
    for side in ("source", "target"):
        with (folder / f"{side}.spm").open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(pairs.read_text(encoding="utf-8").splitlines()),
                model_writer=file,
                vocab_size=60,
                hard_vocab_limit=False,
                minloglevel=2,
            )
    read = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = [read.id_to_piece(i) for i in range(read.get_piece_size())]
    words = {piece: i for i, piece in enumerate(["</s>", "<unk>", *pieces[3:], "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(words))
    tokenizer = MarianTokenizer(
        str(folder / "source.spm"),
        str(folder / "target.spm"),
        str(folder / "vocab.json"),
        source_lang="en",
        target_lang="de",
    )
    tokenizer.save_pretrained(folder)
    config = AutoConfig.from_pretrained(checkpoint("marian"))
    ends = {"pad_token_id": words["<pad>"], "eos_token_id": 0, "bos_token_id": None}
    config.update({**ends, "decoder_start_token_id": words["<pad>"], "vocab_size": len(words)})
    config.decoder_vocab_size = len(words)
    MarianMTModel(config).save_pretrained(folder)
    result = finetune(recipe_of("marian", **{"backbone.id": str(folder)}), tmp_path / "run")
    assert result.metrics["perplexity"].value < len(words)
    again = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert type(again) is MarianTokenizer
    labels = again(text_target=["Hut grün"])["input_ids"]
    assert again.batch_decode(labels, skip_special_tokens=True) == ["Hut grün"]


def test_two_processes_train_and_translate_as_one(recipe_of, tmp_path):
    changes = {"data.train_rows": 43, "train.batch_size": 14, "train.precision": "fp32"}
    recipe = recipe_of("mbart", **changes)
    shutil.copytree(recipe.backbone.id, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {name: 0.0 for name in config if name.endswith("dropout")}  # drawn by each process
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    recipe = recipe.override({"backbone.id": str(tmp_path / "model")})
    (tmp_path / "mine.json").write_text(recipe.to_json())
    losses, tables = [], []
    for processes in (1, 2):  # the last step has one row: the other process gets a filler
        out = tmp_path / f"out{processes}"
        done = launch(processes, "--recipe", tmp_path / "mine.json", "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        entries = [json.loads(line) for line in (out / "log.jsonl").open()]
        losses.append([entry["loss"] for entry in entries if "loss" in entry])
        tables.append(pq.read_table(out / "predictions.parquet").to_pydict())
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    one, two = tables
    assert one["index"] == two["index"]
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    pairs = list(zip(one["prediction"], two["prediction"], strict=True))
    assert sum(a == b for a, b in pairs) >= len(pairs) - 1  # one may be at a tie
