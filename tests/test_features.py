"""Cached features: the head sees exactly what the whole model would have given it."""

import json
import logging
import subprocess

import checkpoints
import numpy as np
import pytest
import torch
import warm
from conftest import make_image
from PIL import Image

from ftkit import HeadOnly, TrainingError, finetune
from ftkit.backbones.structure import head_names
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import features
from ftkit.strategies.features import cache_features
from ftkit.strategies.heads import Head, why_not_alone
from ftkit.tasks.inputs import digests


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of its own for each test."""
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def recipe(tiny_recipe):
    return tiny_recipe.override({"strategy": HeadOnly()})


def made(recipe):
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    return ready, cache_features(ready.model, ready.inputs, recipe, machine)


def passes(recipe, caplog):
    """Return what the log says was computed, and the inputs."""
    caplog.clear()
    caplog.set_level(logging.INFO, "ftkit")
    _, cached = made(recipe)
    (line,) = (m for m in caplog.messages if " of them computed now" in m)
    count = line.partition(" of them computed")[0].rpartition(" ")[2]
    return int(count.replace(",", "")), cached


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_head_on_features_gives_the_logits_of_the_whole_model(family, recipe, checkpoint):
    ready, cached = made(
        recipe.override({"backbone.id": str(checkpoint(family)), "data.train_rows": 12})
    )
    assert why_not_alone(ready.model, ready.inputs, runtime.start(0)) is None
    head = Head(ready.model).eval()
    for position in (0, 5):
        pixels = ready.inputs.train_plain[position]["pixel_values"][None]
        with torch.inference_mode():
            expected = ready.model.eval()(pixel_values=pixels).logits
            got = head(cached.train[position]["features"][None])["logits"]
            assert torch.allclose(got, expected, atol=1e-5)
    assert np.array_equal(cached.train.labels, ready.inputs.train.labels)


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_features_in_bf16_give_the_logits_of_the_whole_model_in_bf16(family, recipe, checkpoint):
    changes = {"backbone.id": str(checkpoint(family)), "train.precision": "bf16"}
    ready, cached = made(recipe.override(changes | {"train.evaluation_batch_size": 1}))
    if family == "resnet":  # where the last layer is a norm, autocast gives float32
        assert cached.validation.values.dtype == torch.bfloat16
    head = Head(ready.model).eval()
    for position in (0, 3):
        pixels = ready.inputs.validation[position]["pixel_values"][None]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            expected = ready.model.eval()(pixel_values=pixels).logits.float()
            got = head(cached.validation[position]["features"][None])["logits"].float()
        assert torch.allclose(got, expected, atol=1e-3)


def test_a_model_whose_head_is_not_its_end_is_not_cached(recipe):
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    head = ready.model.classifier
    ready.model.register_forward_hook(
        lambda *seen: seen[2].__setitem__("logits", seen[2].logits * 2)
    )
    assert "not the output" in why_not_alone(ready.model, ready.inputs, machine)
    assert head is ready.model.get_submodule(head_names(ready.model)[0])


def test_cached_and_uncached_head_training_agree(tiny_recipe, tmp_path):
    # without random changes both see the same features in the same order
    base = tiny_recipe.override(
        {"task.augment.crop": None, "task.augment.flip": False, "train.epochs": 3}
    )
    scores, losses = {}, {}
    for way in (True, False):
        strategy = HeadOnly(learning_rate=1e-2, cache=way, solver="adamw", least_steps=0)
        result = finetune(base.override({"strategy": strategy}), tmp_path / str(way))
        scores[way] = result.metrics["accuracy"].value
        assert (result.seconds.features > 0) == way
        lines = (tmp_path / str(way) / "log.jsonl").read_text().splitlines()
        losses[way] = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert scores[True] == scores[False]


def test_a_second_run_and_another_seed_compute_nothing(recipe, caplog):
    computed, first = passes(recipe, caplog)
    assert computed == len(first.train) + len(first.validation)
    assert passes(recipe, caplog)[0] == 0
    # the test rows are cut by the seed where there is no test split, so they are given here
    split = recipe.override({"data.path": "embedded:digits", "data.train_rows": None})
    split = split.override({"task.augment.flip": False, "backbone.image_size": 32})
    assert passes(split, caplog)[0] > 0
    computed, other = passes(split.override({"train.seed": 7}), caplog)
    assert computed == 0
    machine = runtime.start(7)
    ready = make_ready(split.override({"train.seed": 7}), machine)
    pixels = ready.inputs.validation[9]["pixel_values"][None]
    with torch.inference_mode():
        expected = ready.model.vit(pixel_values=pixels).last_hidden_state[:, 0]
    assert torch.allclose(other.validation[9]["features"], expected[0], atol=1e-5)


def other_weights(recipe, tmp_path, ready):
    with torch.no_grad():
        next(ready.model.vit.parameters()).view(-1)[0] += 1e-3
    ready.model.save_pretrained(tmp_path / "other")
    ready.processor.save_pretrained(tmp_path / "other")
    return recipe.override({"backbone.id": str(tmp_path / "other")})


def other_processor(recipe, tmp_path, ready):
    ready.model.save_pretrained(tmp_path / "other")
    ready.processor.image_mean = [0.5, 0.5, 0.51]
    ready.processor.save_pretrained(tmp_path / "other")
    return recipe.override({"backbone.id": str(tmp_path / "other")})


def other_row(recipe, tmp_path, ready):
    for role in ("train", "validation", "test"):
        for position, row in enumerate(getattr(ready.splits, role)):
            name = ready.splits.label_names[row["label"]]
            file = tmp_path / "data" / role / name / f"{position:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.open(row["image"]["path"]).save(file)
    recipe = recipe.override({"data.path": str(tmp_path / "data")})
    made(recipe)
    make_image("red", 99).save(tmp_path / "data" / "train" / "red" / "020.png")
    return recipe


def other_precision(recipe, tmp_path, ready):
    return recipe.override({"train.precision": "bf16"})


def other_architecture(recipe, tmp_path, ready):
    ready.model.config.hidden_act = "relu"  # the same weights, another function
    ready.model.save_pretrained(tmp_path / "other")
    ready.processor.save_pretrained(tmp_path / "other")
    return recipe.override({"backbone.id": str(tmp_path / "other")})


@pytest.mark.parametrize(
    "change", [other_weights, other_processor, other_row, other_precision, other_architecture]
)
def test_a_change_is_never_served_by_an_old_cache(change, recipe, tmp_path, folder, caplog):
    ready, _ = made(recipe)
    changed = change(recipe, tmp_path, ready)
    before = set(folder.iterdir())
    assert passes(changed, caplog)[0] > 0
    assert len(set(folder.iterdir()) - before) == 1


def test_other_versions_make_another_cache(recipe, folder, monkeypatch):
    made(recipe)
    monkeypatch.setattr(features, "versions", lambda: runtime.versions() | {"torch": "9.0"})
    made(recipe)
    assert len(list(folder.iterdir())) == 2


def test_a_flipped_byte_is_found_and_mended(recipe, folder, caplog):
    _, first = made(recipe)
    values = first.train.values.clone()
    (file,) = folder.glob("*/features.safetensors")
    content = bytearray(file.read_bytes())
    content[-100] ^= 4
    del first
    file.write_bytes(content)
    computed, again = passes(recipe, caplog)
    assert computed == len(values)  # fewer rows than a shard has
    assert torch.equal(again.train.values, values)


def test_duplicates_are_computed_once(recipe, class_folders, tmp_path, caplog):
    for colour in ("red", "blue"):
        for number in range(12):
            (tmp_path / "twins" / colour).mkdir(parents=True, exist_ok=True)
            make_image(colour, number // 2).save(tmp_path / "twins" / colour / f"{number}.png")
    computed, cached = passes(recipe.override({"data.path": str(tmp_path / "twins")}), caplog)
    assert computed <= 12
    assert len(cached.train) + len(cached.validation) > computed


def test_views_are_the_random_changes_of_their_epochs(recipe):
    ready, cached = made(recipe.override({"strategy.views": 2}))
    N = len(ready.inputs.train)
    for epoch, position in ((0, 3), (1, 3), (1, 0)):
        pixels = ready.inputs.train[epoch * N + position]["pixel_values"][None]
        with torch.inference_mode():
            expected = ready.model.vit(pixel_values=pixels).last_hidden_state[0, 0]
        got = cached.train[epoch * N + position]["features"]
        assert torch.allclose(got, expected, atol=1e-5)
    first, third = (cached.train[epoch * N + 3]["features"] for epoch in (0, 2))
    assert torch.equal(first, third)
    assert not torch.equal(first, cached.train[N + 3]["features"])


def test_examples_are_told_apart_by_their_tensors_where_a_task_knows_no_shorter_way():
    class Made:
        labels = np.zeros(3, int)

        def __len__(self):
            return 3

        def __getitem__(self, key):
            ids = [[1, 2], [1, 3], [1, 2]][key % 3]
            return {"input_ids": torch.tensor(ids), "labels": key, "index": key}

    first, second, third = digests(Made())
    assert first == third != second
    assert (digests(Made()) == digests(Made(), epoch=4)).all()


def test_images_in_files_are_told_apart_by_content_and_not_by_name(recipe):
    rows = make_ready(recipe, runtime.start(0)).inputs.train_plain
    assert len(set(digests(rows))) == len(rows)
    swapped = replace_rows(rows, [1, 0, *range(2, len(rows))])
    assert (digests(swapped)[:2] == digests(rows)[[1, 0]]).all()


def replace_rows(rows, order):
    return type(rows)(rows.rows.select(order), rows.processor, rows.seed, rows.augment)


KILLED = """
import json, os, random, signal, sys, time
import torch
from ftkit.strategies import cache
from ftkit.machine import runtime
from ftkit import Recipe
from ftkit.strategies.features import cache_features
from ftkit.finetuning.finetune import make_ready

torch.set_num_threads(1)  # so that a forked child has no pool of threads that is not there
cache.SHARD_ROWS = 4
recipe = Recipe.from_json(open(sys.argv[1]).read())
machine = runtime.start(0)
ready = make_ready(recipe, machine)
passes = os.open(sys.argv[2], os.O_APPEND | os.O_WRONLY | os.O_CREAT)

def slow(module, arguments):
    os.write(passes, b"x" * len(next(iter(arguments), arguments)))
    time.sleep(0.01)

ready.model.classifier.register_forward_pre_hook(slow)
draw = random.Random(0)
kills = int(sys.argv[3])
for attempt in range(kills + 1):
    child = os.fork()
    if child == 0:
        cache_features(ready.model, ready.inputs, recipe, machine)
        os._exit(0)
    if attempt < kills:
        time.sleep(draw.uniform(0.01, 0.08))
        os.kill(child, signal.SIGKILL)
    ended = os.waitpid(child, 0)[1]
assert ended == 0, ended
"""


def test_a_kill_at_any_moment_loses_at_most_one_shard(recipe, tmp_path, folder, monkeypatch):
    recipe = recipe.override({"train.evaluation_batch_size": 2, "train.precision": "fp32"})
    (tmp_path / "recipe.json").write_text(recipe.to_json())

    def extract(kills):
        files = [tmp_path / "recipe.json", tmp_path / "passes"]
        command = warm.python("-c", KILLED, *map(str, files), str(kills))
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    extract(kills=10)
    (store,) = folder.iterdir()
    killed_and_mended = (store / "features.safetensors").read_bytes()
    rows = json.loads((store / "about.json").read_text())["rows"]
    computed = (tmp_path / "passes").stat().st_size
    # each start tries one row to learn the shape; each kill may lose a shard of 4
    assert rows < computed <= rows + 11 + 10 * 4

    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "undisturbed"))
    extract(kills=0)
    (whole,) = (tmp_path / "undisturbed" / "features").iterdir()
    assert whole.name == store.name
    assert (whole / "features.safetensors").read_bytes() == killed_and_mended


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_stop_the_run_and_are_not_kept(recipe, value):
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    with torch.no_grad():
        for name, parameter in ready.model.named_parameters():
            if not name.startswith("classifier"):
                parameter.fill_(value)
    for _ in range(2):  # the second time they are computed again, not read from the cache
        with pytest.raises(TrainingError, match=r"NaN or infinite.*--set train.precision=fp32"):
            cache_features(ready.model, ready.inputs, recipe, machine)
