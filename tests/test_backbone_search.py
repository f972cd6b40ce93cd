"""Which backbone suits the rows: candidates, probes that judge them, and halving."""

import json
from dataclasses import replace
from functools import partial

import checkpoints
import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from sklearn.linear_model import Ridge
from test_tasks_text import recipe, texts  # noqa: F401
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from ftkit import (
    Backbone,
    Data,
    DataError,
    ImageRegression,
    ImageTagging,
    ModelError,
    Recipe,
    RecipeError,
    TrainingError,
    registry,
)
from ftkit.backbones.layers import count_layers
from ftkit.machine import runtime
from ftkit.planning import backbone_probe, backbone_rounds, backbone_search
from ftkit.planning.backbone_candidates import Candidate, candidates_of
from ftkit.planning.backbone_names import backbones_at_hand, require_probes
from ftkit.planning.backbone_probe import PENALTIES, Probe, held_out_means
from ftkit.planning.backbone_report import sentences, table, write
from ftkit.planning.backbone_rounds import Rounds
from ftkit.planning.backbone_search import in_order, run, search_backbones
from ftkit.strategies.penalty import folds_of
from ftkit.tasks import task_of
from ftkit.tasks.loading import read_rows

COLOURS = ("blue", "green", "red")


def names(candidates):
    return [str(candidate) for candidate in candidates]


@pytest.fixture(scope="module")
def splits(tiny_recipe):
    return in_order(read_rows(tiny_recipe.data, task_of(tiny_recipe.task)), 0)


# candidates


def test_a_transformer_may_end_after_any_layer_and_a_cnn_takes_any_side(tiny_recipe, checkpoint):
    vit, resnet = str(checkpoint("vit")), str(checkpoint("timm-resnet"))
    found, refused = candidates_of(tiny_recipe, [vit, resnet], COLOURS)
    sides = [f"{resnet} {side} px" for side in (128, 96, 64, 32)]  # its own are 160
    assert names(found) == [vit, f"{vit} 1 layer", resnet, *sides]
    assert refused == []


def test_tokens_are_read_in_both_ways(recipe, checkpoint):  # noqa: F811
    bert, gpt2 = str(checkpoint("bert")), str(checkpoint("gpt2"))
    found, _ = candidates_of(recipe, [bert, gpt2], ("fruit", "metal"))
    ways = [bert, f"{bert} mean token", f"{bert} 1 layer", f"{bert} 1 layer mean token"]
    assert names(found) == [*ways, gpt2, f"{gpt2} 1 layer"]


def test_what_the_user_said_stays(tiny_recipe, checkpoint):
    changed = tiny_recipe.override({"backbone.layers": 1})
    found, _ = candidates_of(changed, [str(checkpoint("vit"))], COLOURS, {"layers"})
    assert [candidate.layers for candidate in found] == [1]


def test_at_most_six_depths_are_tried(tiny_recipe, checkpoint, tmp_path):
    config = AutoConfig.from_pretrained(checkpoint("vit"), num_hidden_layers=12)
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(checkpoint("vit")).save_pretrained(tmp_path)
    found, _ = candidates_of(tiny_recipe, [str(tmp_path)], COLOURS)
    assert [candidate.layers for candidate in found] == [None, 10, 8, 6, 4, 2]
    assert count_layers(config) == 12


def test_a_backbone_that_cannot_be_had_is_named_and_the_others_are_tried(tiny_recipe, checkpoint):
    vit = str(checkpoint("vit"))
    found, refused = candidates_of(tiny_recipe, ["./nowhere", vit], COLOURS)
    assert {candidate.id for candidate in found} == {vit}
    assert refused == ["backbone './nowhere': there is no such folder"]
    with pytest.raises(ModelError, match="there is no such folder"):
        candidates_of(tiny_recipe, ["./nowhere"], COLOURS)


def test_another_backbone_is_not_trusted_for_the_recipes_own(tiny_recipe):
    trusted = tiny_recipe.override(
        {"backbone.trust_remote_code": True, "backbone.revision": "abc", "backbone.layers": 1}
    )
    other = Candidate("alice/other").of(trusted).backbone
    assert (other.trust_remote_code, other.revision, other.layers) == (False, None, None)
    own = Candidate(trusted.backbone.id, layers=1).of(trusted).backbone
    assert (own.trust_remote_code, own.revision) == (True, "abc")


def test_backbones_at_hand_are_the_recipes_own_and_the_embedded_ones():
    assert backbones_at_hand(registry.find("vit-cifar")) == (
        registry.find("vit-cifar").backbone.id,
        "embedded:efficientnet-lite0",
        "embedded:efficientnet-lite1",
        "embedded:efficientnet-lite2",
    )
    assert backbones_at_hand(registry.find("minilm-langid")) == ("embedded:minilm-l6",)


@pytest.mark.parametrize(
    ("name", "said"),
    [("mlp-digits", "trains a perceptron"), ("bart-cldr", "translation has none")],
)
def test_recipes_without_one_vector_of_a_row_are_refused(name, said):
    with pytest.raises(RecipeError, match=said):
        require_probes(registry.find(name))


# probes


@pytest.mark.parametrize(("N", "D"), [(60, 5), (30, 80)])
@pytest.mark.parametrize("penalty", [1.0, 100.0])
def test_held_out_rows_are_told_by_scikit_learns_ridge_on_the_others(N, D, penalty, monkeypatch):
    random = np.random.default_rng(0)
    values, which = random.normal(3, 2, (N, D)), random.integers(-1, 4, N)
    targets = np.eye(3)[random.integers(0, 3, N)]
    monkeypatch.setattr(backbone_probe, "PENALTIES", (penalty,))
    found = held_out_means(values, targets, which)
    wanted = np.empty((N, 3))
    for fold in range(4):
        others = Ridge(penalty).fit(values[which != fold], targets[which != fold])
        wanted[which == fold] = others.predict(values[which == fold])
    assert np.allclose(found, wanted[which >= 0], atol=1e-8)


def test_the_penalty_is_the_one_whose_held_out_rows_are_told_best():
    random = np.random.default_rng(0)
    values, which = random.normal(size=(80, 200)), np.arange(80) % 5
    targets = values[:, :1] + random.normal(size=(80, 1))
    errors = []
    for penalty in PENALTIES:
        told = np.empty((80, 1))
        for fold in range(5):
            others = Ridge(penalty).fit(values[which != fold], targets[which != fold])
            told[which == fold] = others.predict(values[which == fold]).reshape(-1, 1)
        errors.append(((told - targets) ** 2).mean())
    found = held_out_means(values, targets, which)
    assert ((found - targets) ** 2).mean() == pytest.approx(min(errors))
    assert 0 < int(np.argmin(errors)) < len(PENALTIES) - 1


def test_labels_of_chance_are_told_by_chance(splits):
    random, task = np.random.default_rng(1), task_of(splits.task)
    values = random.normal(size=(400, 300)).astype(np.float32)
    labels = random.integers(0, 3, 400)
    which = folds_of(task.settings, labels, 0)
    found = Probe(Candidate("any"), None, [values]).outputs(task, np.eye(3)[labels], which)
    assert abs((found.argmax(1) == labels).mean() - 1 / 3) < 0.1


def test_rows_are_read_once_and_in_order(tiny_recipe, splits, checkpoint):
    machine, precisions = runtime.start(0), {}
    probe = Probe(Candidate(tiny_recipe.backbone.id), tiny_recipe)
    for stop in (20, 50):
        probe.read(splits, stop, machine, precisions)
    assert [len(part) for part in probe.values] == [20, 30]
    whole = Probe(Candidate(tiny_recipe.backbone.id), tiny_recipe)
    whole.read(splits, 50, machine, precisions)
    assert np.allclose(np.concatenate(probe.values), whole.values[0], atol=1e-5)
    assert 0 < probe.seconds_per_row < 1
    assert probe.model_bytes == 4 * probe.parameters


# the order of rows


def test_every_beginning_has_the_shares_of_all_rows(splits):
    labels = np.array(splits.train["label"])
    whole = np.bincount(labels) / len(labels)
    for stop in (9, 18, 30):
        assert np.abs(np.bincount(labels[:stop], minlength=3) / stop - whole).max() < 0.12


def test_the_order_loses_no_row_and_groups_go_with_their_rows(tiny_recipe):
    read = read_rows(tiny_recipe.data, task_of(tiny_recipe.task))
    groups = np.array(read.train["index"])
    moved = in_order(replace(read, train_groups=groups), 3)
    assert sorted(moved.train["index"]) == sorted(read.train["index"])
    assert moved.train_groups.tolist() == moved.train["index"][:]


# halving


class Fake:
    """A probe of so many right answers in a hundred, and so many seconds a row."""

    def __init__(self, name, share, seconds):
        self.candidate, self.share, self.seconds_per_row = Candidate(name), share, seconds
        self.rows, self.parameters, self.model_bytes, self.spent = 0, 1, 4, 0.0

    def read(self, splits, stop, machine, precisions):
        self.spent += (stop - self.rows) * self.seconds_per_row
        self.rows = stop

    def outputs(self, task, targets, which):
        random = np.random.default_rng(7)  # the same luck for all
        right = random.random(len(targets)) < self.share
        wrong = np.roll(targets, 1, axis=1)
        return task.outputs_of_means(np.where(right[:, None], targets, wrong)[which >= 0])


def halved(monkeypatch, tiny_recipe, probes, available=4000, limit=float("inf")):
    """Search among fakes, as if rows took the seconds that they say."""
    clock = [0.0]
    monkeypatch.setattr(backbone_search, "run", partial(run, always=0.0))
    monkeypatch.setattr(
        backbone_search.time, "perf_counter", lambda: clock[0] + sum(p.spent for p in probes)
    )
    read = read_rows(tiny_recipe.data, task_of(tiny_recipe.task))
    rows = read.train.select(np.arange(available) % len(read.train))
    many = replace(read, train=rows, train_groups=None)
    monkeypatch.setattr(backbone_search, "read_rows", lambda *_: many)
    candidates = [probe.candidate for probe in probes]
    monkeypatch.setattr(backbone_search, "candidates_of", lambda *_: (candidates, []))

    def fakes(self, *given):
        Rounds.__init__(self, *given)
        self.alive = list(probes)

    kind = type("Fakes", (Rounds,), {"__init__": fakes})
    monkeypatch.setattr(backbone_search, "Rounds", kind)
    runtime.start(0)
    return search_backbones(tiny_recipe, ["any"], (), limit)


def test_the_best_of_forty_is_found_in_a_tenth_of_the_time(monkeypatch, tiny_recipe):
    shares = np.random.default_rng(0).permutation(np.linspace(0.5, 0.9, 40))
    probes = [Fake(f"b{n}", share, 0.01) for n, share in enumerate(shares)]
    found = halved(monkeypatch, tiny_recipe, probes)
    assert found.chosen.candidate.id == f"b{shares.argmax()}"
    spent = sum(probe.spent for probe in probes)
    assert spent <= 0.1 * 40 * 4000 * 0.01
    assert found.exhaustive == pytest.approx(40 * 4000 * 0.01)
    rows = {each.candidate.id: each.rows for each in found.probed}
    assert rows[f"b{shares.argmax()}"] == max(rows.values()) > 4 * min(rows.values())
    assert rows[f"b{shares.argmin()}"] == found.first_rows


def test_dear_candidates_do_not_break_the_limit(monkeypatch, tiny_recipe):
    shares = np.linspace(0.5, 0.9, 40)
    probes = [Fake(f"b{n}", share, 0.001 * (1 + n) ** 2) for n, share in enumerate(shares)]
    found = halved(monkeypatch, tiny_recipe, probes)
    assert sum(probe.spent for probe in probes) <= 0.1 * found.exhaustive * 1.01
    assert found.chosen.score.value > 0.85


def test_a_quicker_one_that_cannot_be_told_apart_is_named(monkeypatch, tiny_recipe):
    monkeypatch.setattr(backbone_search, "SHARE", 10.0)
    probes = [Fake("best", 0.9, 0.01), Fake("quick", 0.899, 0.001), Fake("poor", 0.8, 0.0001)]
    found = halved(monkeypatch, tiny_recipe, probes, 3000)
    assert found.chosen.candidate.id == "best"
    assert "not told apart from it: quick; quick is quicker, 1 ms a row" in sentences(found)[1]
    assert "shown to be worse: poor" in sentences(found)[2]


def test_of_equals_the_quickest_is_chosen(monkeypatch, tiny_recipe):
    found = halved(monkeypatch, tiny_recipe, [Fake("slow", 0.9, 0.01), Fake("quick", 0.9, 0.001)])
    assert found.chosen.candidate.id == "quick"


def test_all_rows_are_the_most_that_finalists_see(monkeypatch, tiny_recipe):
    monkeypatch.setattr(backbone_search, "SHARE", 10.0)
    found = halved(monkeypatch, tiny_recipe, [Fake("a", 0.9, 0.01), Fake("b", 0.5, 0.01)], 300)
    assert {each.rows for each in found.probed} == {300}
    test = found.tests.between("a", "b")
    assert test.p < 0.01
    assert any("shown to be worse: b" in line for line in sentences(found))


def test_after_a_limit_of_seconds_no_candidate_is_tried(monkeypatch, tiny_recipe):
    probes = [Fake(f"b{n}", 0.5 + n / 100, 0.01) for n in range(12)]
    rows = backbone_search._first_rows(12, 4000, 3)
    found = halved(monkeypatch, tiny_recipe, probes, limit=2.5 * 0.01 * rows)
    assert [(each.candidate.id, each.rows) for each in found.probed] == [
        ("b2", rows), ("b1", rows), ("b0", rows),
    ]  # fmt: skip
    assert found.refused == ("no time was left to try 9 of 12 candidates, from b3 on",)


def test_a_single_candidate_is_looked_at_once(monkeypatch, tiny_recipe):
    found = halved(monkeypatch, tiny_recipe, [Fake("only", 0.8, 0.01)])
    assert (found.chosen.candidate.id, found.chosen.rows) == ("only", found.first_rows)
    assert found.tests.pairs == {}


def test_small_images_of_all_backbones_come_first():
    sides = [Candidate("a"), Candidate("a", image_size=64), Candidate("b", image_size=32)]
    ordered = sorted(sides, key=backbone_search._size)
    assert [(each.id, each.image_size) for each in ordered] == [("b", 32), ("a", 64), ("a", None)]


def test_a_backbone_that_gives_no_finite_numbers_is_left_out(monkeypatch, tiny_recipe):
    broken = Fake("broken", 0.9, 0.01)

    def overflow(*_):
        raise TrainingError("the backbone gave features that are NaN or infinite")

    broken.outputs = overflow
    found = halved(monkeypatch, tiny_recipe, [broken, Fake("sound", 0.8, 0.01)])
    assert [each.candidate.id for each in found.probed] == ["sound"]
    assert found.refused == ("the backbone gave features that are NaN or infinite",)


# the whole


def test_a_search_among_real_backbones_finds_the_one_that_was_trained(tmp_path, shared_data):
    rows = load_dataset("parquet", data_files=str(shared_data / "sst2" / "train.parquet"))["train"]
    long = rows.filter(lambda row: len(row["sentence"]) > 60).select(range(240))
    long.to_parquet(tmp_path / "train.parquet")
    new = str(checkpoints.make("bert", tmp_path / "new"))
    changed = registry.find("minilm-langid").override(
        {"data.path": str(tmp_path / "train.parquet"), "task.text": "sentence"}
    )
    found = search_backbones(changed, [new, "embedded:minilm-l6"], {"layers", "pooling"})
    assert found.chosen.candidate.id == "embedded:minilm-l6"
    assert found.chosen.score.low > 0.5
    assert not found.refused


def test_numbers_and_tags_have_their_own_figures(checkpoint, tmp_path):
    random, lines = np.random.default_rng(0), []
    for number in range(80):
        value = int(random.integers(0, 256))
        Image.fromarray(np.full((24, 24, 3), value, np.uint8)).save(tmp_path / f"{number}.png")
        tags = [name for name, there in (("dark", value < 128), ("even", value % 2 == 0)) if there]
        lines.append(json.dumps({"image": f"{number}.png", "grey": value, "tags": tags}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    for task, figure in (
        (ImageRegression(label="grey"), "r2"),
        (ImageTagging(label="tags"), "micro_f1"),
    ):
        own = Recipe(
            name="grey",
            data=Data(path=str(tmp_path / "rows.jsonl")),
            backbone=Backbone(id=str(checkpoint("timm-resnet"))),
            task=task,
        )
        found = search_backbones(own, [own.backbone.id])
        assert found.figure == figure
        assert found.chosen.score.value > 0.5
        assert found.chosen.score.low < found.chosen.score.value < found.chosen.score.high


def test_too_few_rows_are_refused(tiny_recipe, splits):
    rounds = Rounds(tiny_recipe, splits, runtime.start(0), [Candidate("any")], [])
    with pytest.raises(DataError, match="1 training rows are too few to compare backbones by"):
        rounds.judge(1)


def test_what_was_found_is_written_for_people_and_programs(tiny_recipe, checkpoint, tmp_path):
    backbones = [tiny_recipe.backbone.id, str(checkpoint("timm-resnet")), "./nowhere"]
    found = search_backbones(tiny_recipe, backbones)
    write(found, tmp_path, tmp_path)
    told = json.loads((tmp_path / "backbones.json").read_text())
    assert told["chosen"] == str(found.chosen.candidate)
    assert len(told["candidates"]) == len(found.probed) == 7
    assert told["candidates"][0]["accuracy"]["value"] == found.probed[0].score.value
    assert told["refused"] == ["backbone './nowhere': there is no such folder"]
    page = (tmp_path / "backbones.md").read_text()
    assert page.count("\n| ") == 2 + 7
    assert "![](backbones.png)" in page
    assert (tmp_path / "backbones.png").read_bytes().startswith(b"\x89PNG")
    assert table(found, 200).row_count == 7
    assert len(table(found, 80).columns) == len(table(found, 200).columns) - 1


def test_copies_of_a_row_are_held_out_together(tiny_recipe, splits, monkeypatch):
    """A probe that has seen a copy of each row knows it by heart."""
    twice = np.repeat(np.arange(26), 2)
    doubled = replace(splits, train=splits.train.select(twice), train_groups=twice)
    seen = []

    def note(*given):
        seen.append(folds_of(*given))
        return seen[-1]

    monkeypatch.setattr(backbone_rounds, "folds_of", note)
    rounds = Rounds(
        tiny_recipe, doubled, runtime.start(0), [Candidate(tiny_recipe.backbone.id)], []
    )
    rounds.judge(52)
    assert (seen[0][::2] == seen[0][1::2]).all()
