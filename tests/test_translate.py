"""Translators of every family through the whole main path, on tiny checkpoints."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import leave_unverified
from peft import PeftModel
from test_launch import launch
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    MarianMTModel,
    MarianTokenizer,
)

from ftkit import (
    Backbone,
    Data,
    Full,
    Lora,
    ModelError,
    Recipe,
    RecipeError,
    Train,
    Translation,
    VerificationError,
    finetune,
    registry,
    runtime,
)
from ftkit.adapt import adapt
from ftkit.batches import Keyed
from ftkit.cli import main
from ftkit.evaluation import predict
from ftkit.losses import loss_of
from ftkit.models import head_names, load_model
from ftkit.run import make_ready
from ftkit.seq2seq import shift_of
from ftkit.translate import translate
from ftkit.verify import verify

NOUNS = {"hat": "Hut", "house": "Haus", "tree": "Baum", "man": "Mann", "sea": "See"}
COLOURS = {"red": "rot", "blue": "blau", "green": "grün", "old": "alt"}
LANGUAGES = {
    "mbart": ("en_XX", "de_DE"),
    "mbart50": ("en_XX", "de_DE"),
    "nllb": ("eng_Latn", "deu_Latn"),
}
VERIFIED = [("t5", "full"), ("marian", "full"), ("mbart", "lora"), ("nllb", "lora")]
"""In a fresh process too, and the adapter beside the model: each takes seconds."""
FAMILIES = ("t5", "marian", "bart", "mbart", "mbart50", "nllb")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A CSV of 60 phrases in English and German, of different lengths."""
    random, lines = np.random.default_rng(0), ["en,de"]
    for number in range(60):
        count = 1 + number % 3
        nouns, colours = random.choice([*NOUNS], count), random.choice([*COLOURS], count)
        english = " and ".join(f"{c} {n}" for c, n in zip(colours, nouns, strict=True))
        german = " und ".join(
            f"{NOUNS[n]} {COLOURS[c]}" for c, n in zip(colours, nouns, strict=True)
        )
        lines.append(f"{english},{german}")
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def recipe_of(pairs, checkpoint):
    def make(family, **changes):
        source, target = LANGUAGES.get(family, (None, None))
        recipe = Recipe(
            name=f"{family}-phrases",
            data=Data(path=str(pairs)),
            backbone=Backbone(id=str(checkpoint(family))),
            task=Translation(
                source="en",
                target="de",
                source_language=source,
                target_language=target,
                prefix="in German: " if family == "t5" else "",
                max_length=48,
                beams=2,
            ),
            strategy=Full(learning_rate=3e-3),
            train=Train(epochs=1, batch_size=16),
        )
        return recipe.override(changes)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_the_model_itself(family, recipe_of):
    recipe, machine = recipe_of(family), runtime.start(0)
    ready = make_ready(recipe, machine)
    rows, model = ready.inputs.train, ready.model.eval()
    batch = rows.collate([rows[0], rows[2], rows[4]])
    labels = batch.pop("labels")
    del batch["index"]
    with torch.inference_mode():
        found = model(**batch)
        del batch["decoder_input_ids"]  # the model makes its own
        expected = model(**batch, labels=labels).loss
    loss = loss_of(recipe.task, recipe.train, rows.labels, 2)
    assert loss(found, labels) == pytest.approx(float(expected), rel=1e-5)
    outputs = predict(recipe.task, model, ready.inputs.test, recipe.train, machine, final=False)
    assert outputs.texts is None
    for row in (0, 5):  # padding changes nothing
        one = ready.inputs.test.collate([ready.inputs.test[row]])
        del one["index"], one["decoder_input_ids"]
        with torch.inference_mode():
            alone = float(model(**one).loss)
        assert outputs.losses[row] / outputs.tokens[row] == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_that_only_fills_a_batch_counts_nothing(family, recipe_of):
    recipe = recipe_of(family)
    ready = make_ready(recipe, runtime.start(0))
    rows, loss = Keyed(ready.inputs.train), loss_of(recipe.task, recipe.train, np.zeros(0), 2)
    model, parts = ready.model.eval(), []
    for keys in ([0, 1], [-1]):
        batch = ready.inputs.train.collate([rows[key] for key in keys])
        labels = batch.pop("labels")
        del batch["index"]
        with torch.inference_mode():
            parts.append(loss(model(**batch), labels, 7))
    assert parts[0] > 0
    assert parts[1] == 0


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
    before = load_model(recipe.backbone, (), 0, recipe.task)[0]
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
    inputs = tokenizer(sources, padding=True, return_tensors="pt")
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


def test_an_adapter_alone_translates(recipe_of, tmp_path):
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


@pytest.mark.parametrize("family", ["mbart", "mbart50", "nllb"])
def test_a_search_begins_as_training_does(family, recipe_of, tmp_path):
    recipe = recipe_of(family)
    model, tokenizer = load_model(recipe.backbone, (), 0, recipe.task)
    tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)  # the languages are saved
    code = tokenizer.convert_tokens_to_ids(LANGUAGES[family][1])
    labels = tokenizer(text_target=["Hut"], return_tensors="pt")["input_ids"]
    assert code in labels
    assert tokenizer.convert_tokens_to_ids(LANGUAGES[family][0]) in tokenizer("hat")["input_ids"]
    fed = shift_of(model)(labels)
    found = model.generate(**tokenizer("hat", return_tensors="pt"))
    assert found[0, 0] == fed[0, 0]
    if family != "mbart":  # whose decoder reads the language first, and writes it last
        assert found[0, 1] == labels[0, 0] == code


@pytest.mark.parametrize(
    ("family", "field", "code", "message"),
    [
        ("nllb", "target_language", "deu_Lat", r"does not know it; did you mean 'deu_Latn'\?"),
        ("nllb", "source_language", "de", "does not know it; codes are deu_Latn"),
        ("mbart50", "target_language", "xx", "does not know it; codes are af_ZA, ar_AR,"),
        ("nllb", "target_language", None, "is missing: backbone .* knows 3 languages"),
        ("t5", "source_language", "en", "takes no codes of languages"),
    ],
)
def test_an_unknown_language_is_refused_in_one_line(
    family, field, code, message, recipe_of, tmp_path
):
    recipe = recipe_of(family, **{f"task.{field}": code})
    with pytest.raises(ModelError, match=rf"task\.{field}.*{message}") as caught:
        finetune(recipe, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_one_beam_is_greedy(recipe_of):
    recipe = recipe_of("bart", **{"task.beams": 1})
    model, tokenizer = load_model(recipe.backbone, (), 0, recipe.task)
    inputs = tokenizer(["red hat", "old sea"], return_tensors="pt", padding=True)
    greedy = model.generate(**inputs, num_beams=1, do_sample=False)
    assert torch.equal(model.generate(**inputs), greedy)


def test_a_saved_translator_knows_its_languages(recipe_of, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = recipe_of("nllb", strategy=Full(), **{"train.max_steps": 1})
    finetune(recipe, tmp_path / "run")
    again = {"backbone.id": str(tmp_path / "run" / "model"), "task.source_language": None}
    ready = make_ready(recipe.override(again | {"task.target_language": None}), runtime.start(0))
    assert (ready.processor.src_lang, ready.processor.tgt_lang) == LANGUAGES["nllb"]


@pytest.mark.parametrize("family", ["t5", "marian"])
@pytest.mark.parametrize("strategy", ["head", "lpft"])
def test_there_is_no_head_to_train_alone(family, strategy, recipe_of):
    recipe = recipe_of(family)
    with pytest.raises(RecipeError, match="translation has none; use full or lora"):
        recipe.with_strategy(strategy)
    with pytest.raises(ModelError, match="no new head"):
        head_names(load_model(recipe.backbone, (), 0, recipe.task)[0])


def test_no_step_leaves_a_layer_out(recipe_of):
    recipe = recipe_of("nllb")
    model = load_model(recipe.backbone, (), 0, recipe.task)[0]
    assert model.config.decoder_layerdrop > 0
    assert {m.layerdrop for m in model.modules() if hasattr(m, "layerdrop")} == {0.0}


def test_what_is_computed_and_not_saved_does_not_move(recipe_of):
    recipe = recipe_of("marian")
    model = adapt(Full(), load_model(recipe.backbone, (), 0, recipe.task)[0])
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert still == {f"model.{part}.embed_positions.weight" for part in ("encoder", "decoder")}


def test_a_classifier_does_not_translate(recipe_of, checkpoint):
    with pytest.raises(ModelError, match="does no translation"):
        make_ready(recipe_of("t5", **{"backbone.id": str(checkpoint("bert"))}), runtime.start(0))


def test_class_weights_are_refused(recipe_of, tmp_path):
    with pytest.raises(RecipeError, match="a translation has no classes"):
        finetune(recipe_of("t5", **{"train.class_weights": "balanced"}), tmp_path / "run")


def test_test_translations_are_in_order_however_long_the_rows(recipe_of):
    recipe, machine = recipe_of("t5"), runtime.start(0)
    ready = make_ready(recipe, machine)
    rows, model = ready.inputs.test, ready.model.eval()
    one_by_one = []
    for row in range(len(rows)):
        batch = rows.collate([rows[row]])
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        found = model.generate(**inputs)
        one_by_one += rows.tokenizer.batch_decode(found, skip_special_tokens=True)
    train = recipe.train.model_copy(update={"evaluation_batch_size": 5})
    pairs = list(zip(translate(model, rows, train, machine), one_by_one, strict=True))
    assert len(set(one_by_one)) > 3
    assert sum(a == b for a, b in pairs) >= len(pairs) - 1  # one may be at a tie


def test_a_model_that_is_not_the_measured_one_fails_verification(recipe_of, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe, machine = recipe_of("t5"), runtime.start(0)
    finetune(recipe, tmp_path / "run")
    ready = make_ready(recipe, machine)  # untrained
    outputs = predict(recipe.task, ready.model, ready.inputs.test, recipe.train, machine)
    with pytest.raises(VerificationError, match="losses after reloading differ"):
        verify(tmp_path / "run" / "model", recipe.task, ready.splits, outputs)


def test_the_checkpoint_is_chosen_by_bleu_where_asked_for(recipe_of, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = recipe_of("t5", **{"train.best_by": "chrf", "train.epochs": 2})
    finetune(recipe, tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    entries = [entry for entry in log if "validation_loss" in entry]
    assert len(entries) == 2
    assert all("validation_chrf" in entry for entry in entries)
    cheap = recipe_of("t5")
    finetune(cheap, tmp_path / "cheap")
    log = [json.loads(line) for line in (tmp_path / "cheap" / "log.jsonl").open()]
    (entry,) = [entry for entry in log if "validation_loss" in entry]
    assert entry["validation_perplexity"] == pytest.approx(np.exp(entry["validation_loss"]))
    assert "validation_chrf" not in entry


def test_check_looks_at_pairs_and_plans_the_run(recipe_of, tmp_path, capsys):
    file = tmp_path / "recipe.json"
    file.write_text(recipe_of("t5").to_json())
    assert main(["check", "--recipe", str(file)]) == 0
    said = capsys.readouterr().out
    assert "characters to write" in said
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
    first, last = (entry["validation_loss"] for entry in log if "validation_loss" in entry)
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
