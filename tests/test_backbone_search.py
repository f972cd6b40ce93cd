"""Which backbone suits the rows: halving among many, and what is told of it."""

import json
from dataclasses import replace
from functools import partial

import checkpoints
import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from test_tasks_text import recipe, texts  # noqa: F401

from ftkit import (
    Backbone,
    Data,
    DataError,
    ImageRegression,
    ImageTagging,
    Recipe,
    TrainingError,
    registry,
)
from ftkit.machine import runtime
from ftkit.planning import backbone_rounds, backbone_search
from ftkit.planning.backbone_candidates import Candidate
from ftkit.planning.backbone_report import sentences, table, write
from ftkit.planning.backbone_rounds import Rounds
from ftkit.planning.backbone_search import in_order, run, search_backbones
from ftkit.strategies.penalty import folds_of
from ftkit.tasks import task_of
from ftkit.tasks.loading import read_rows


@pytest.fixture(scope="module")
def splits(tiny_recipe):
    return in_order(read_rows(tiny_recipe.data, task_of(tiny_recipe.task)), 0)


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
    assert found.refused == (
        "no time was left to try 9 of 12 candidates, from b3 on; give a "
        "longer --budget, or fewer by --backbones",
    )


def test_those_that_a_later_round_has_no_time_for_stay_in_the_table(monkeypatch, tiny_recipe):
    probes = [Fake(f"b{n}", 0.5 + n / 100, 0.01) for n in range(12)]
    rows = backbone_search._first_rows(12, 4000, 3)
    monkeypatch.setattr(Rounds, "halve", lambda self, seconds: min(2 * rows, self.rows + rows))
    found = halved(monkeypatch, tiny_recipe, probes, limit=13.5 * 0.01 * rows)
    assert len(found.probed) == 12
    assert sorted(each.rows for each in found.probed) == [rows] * 10 + [2 * rows] * 2
    assert (found.chosen.candidate.id, found.refused) == ("b11", ())


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
