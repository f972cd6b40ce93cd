"""A comparison runs what is missing, the cheapest first, and nothing twice."""

import logging
import os
import signal
import subprocess
import time

import pytest
import warm
from test_compare import make

from ftkit import Data, Mlp, Recipe, RecipeError, RunError, RunResult, TabularRegression
from ftkit.cli.main import main
from ftkit.cli.options import seconds_of
from ftkit.compare.finished_runs import Run, read_runs
from ftkit.compare.ladder import Ladder, build_ladder
from ftkit.compare.run_ladder import LadderRuns, climb, compare, note_on_seeds
from ftkit.compare.summary import summarize
from ftkit.registry import find


@pytest.fixture
def tiny_file(tiny_recipe, tmp_path):
    file = tmp_path / "tiny.json"
    file.write_text(tiny_recipe.override({"train.epochs": 1}).to_json())
    return file


def kinds(recipes, wanted=None):
    return [rung.kind for rung in build_ladder(recipes, wanted).rungs]


def test_the_usual_ladder_of_a_recipe_is_its_own_strategies_and_the_baselines():
    found = kinds([find("effnet-digits")])
    assert found == ["majority", "knn", "mlp", "head", "lora", "full"]
    assert kinds([find("mlp-digits")]) == ["majority", "knn", "mlp"]
    assert kinds([find("effnet-digits")], ["full", "lpft", "mlp"]) == ["mlp", "lpft", "full"]


def test_the_perceptron_is_that_of_the_recipe_for_the_same_rows():
    recipe = find("effnet-digits").override({"train.seed": 3, "data.train_rows": 100})
    (rung,) = build_ladder([recipe], ["mlp"]).rungs
    known = find("mlp-digits")
    assert rung.recipe == known.override({"train.seed": 3, "data.train_rows": 100})
    assert rung.folder == "mlp-digits-full-seed3"
    own = find("effnet-digits").override({"data.path": "photos"})
    (rung,) = build_ladder([own], ["mlp"]).rungs
    assert (rung.recipe.name, rung.recipe.data.path) == ("mlp-effnet-digits", "photos")
    assert isinstance(rung.recipe.backbone, Mlp)


def test_what_a_task_does_not_have_is_left_out_aloud():
    found = build_ladder([find("t5-multi30k")])
    assert [rung.kind for rung in found.rungs] == ["lora", "full"]
    (sentence,) = found.left_out
    assert sentence.startswith(
        "t5-multi30k does without majority, tfidf and knn (translation has no single class or "
        "number to tell), mlp ("
    )
    assert sentence.endswith("; what fits it: lora, full and bitfit")
    with pytest.raises(
        RecipeError, match=r"nothing to compare: .* knn .*fits it: lora, full and bitfit"
    ):
        build_ladder([find("smollm-lora")], ["knn"])


def test_recipes_of_other_rows_and_unknown_strategies_are_refused():
    with pytest.raises(RecipeError, match=r"different rows .*--data"):
        build_ladder([find("effnet-digits"), find("vit-cifar")])
    with pytest.raises(RecipeError, match="there is no 'loar'"):
        build_ladder([find("effnet-digits")], ["loar"])
    table = Recipe(name="t", data=Data(path="t.csv"), backbone=Mlp(), task=TabularRegression())
    assert [rung.label for rung in build_ladder([table], ["mlp"]).rungs] == ["mlp"]


def test_recipes_on_the_same_rows_share_the_perceptron_and_the_most_frequent_class():
    first = find("effnet-digits")
    recipes = [first, first.override({"name": "other"})]
    found = build_ladder(recipes, ["majority", "mlp", "head"]).rungs
    labels = ["majority", "mlp", "effnet-digits head", "other head"]
    assert [rung.label for rung in found] == labels


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5min", 90), ("2h", 7200)]
)
def test_a_budget_is_a_time(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["soon", "1.2.3s", "3d", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(RecipeError, match="--budget"):
        seconds_of(text)


def test_a_comparison_runs_what_is_missing_and_says_what_it_found(
    tiny_file, tmp_path, capsys, caplog
):
    caplog.set_level(logging.INFO, "ftkit")
    out = tmp_path / "out"
    words = ["compare", str(tiny_file), "--out", str(out)]
    assert main([*words, "--strategies", "majority"]) == 0
    (first,) = out.glob("*/run.json")
    then = first.stat().st_mtime_ns
    assert main([*words, "--strategies", "majority,mlp"]) == 0
    assert first.stat().st_mtime_ns == then
    names = sorted(path.parent.name for path in out.glob("*/run.json"))
    assert names == ["mlp-tiny-colours-full-seed0", "tiny-colours-majority-seed0"]
    said = capsys.readouterr().out
    assert "at n =" in said
    (line,) = [one for one in caplog.messages if one.startswith("mlp")]
    assert "over majority for" in line
    latency = RunResult.read(out / names[0]).latency_seconds
    assert 0 < latency < 60
    # the folders of finished runs are one table, with the same verdict
    assert main(["compare", *(str(out / name) for name in names)]) == 0
    said = capsys.readouterr().out
    assert "at n =" in said
    assert "atency" not in said  # which this table does not show
    assert "0.0 MB" not in said


def test_runs_of_one_strategy_and_other_settings_have_their_folders_for_labels(
    tiny_recipe, tmp_path
):
    def labels(*changes):
        folders = []
        for number, change in enumerate(changes):
            recipe = tiny_recipe.override({"train.seed": number, **change})
            folders.append(tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
            folders[-1].mkdir()
            (folders[-1] / "recipe.json").write_text(recipe.to_json())
            make("tiny", "full", (0, 0, 0), seed=number).write(folders[-1])
        return [run.label for run in read_runs(folders)]

    assert labels({}, {}) == ["full", "full"]
    assert labels({}, {"train.epochs": 9}) == ["run-2", "run-3"]


def test_runs_in_folders_of_one_name_are_told_apart_and_not_averaged(tiny_recipe, tmp_path):
    """Two sweeps have a trial-0000 each, of the same seed."""
    folders = []
    for sweep, epochs in (("s1", 1), ("s2", 2)):
        folders.append(tmp_path / sweep / "trial-0000")
        folders[-1].mkdir(parents=True)
        recipe = tiny_recipe.override({"train.epochs": epochs})
        (folders[-1] / "recipe.json").write_text(recipe.to_json())
        make("tiny", "full", (epochs / 4, 0, 1)).write(folders[-1])
    runs = read_runs([*folders, tmp_path / "s2" / ".." / "s1" / "trial-0000"])
    assert [run.label for run in runs] == ["s1/trial-0000", "s2/trial-0000"]
    assert summarize(runs).best == "s2/trial-0000"


def test_two_runs_of_one_seed_are_no_two_seeds(tmp_path):
    runs = [
        Run("full", tmp_path / name, make("tiny", "full", (0.5, 0.4, 0.6), seed=3)) for name in "ab"
    ]
    with pytest.raises(RunError, match=r"a and .*b are both full with seed 3"):
        summarize(runs)
    with pytest.raises(RecipeError, match="two recipes are named effnet-digits"):
        build_ladder([find("effnet-digits")] * 2)


def test_a_margin_is_a_share(tiny_file, capsys):
    assert main(["compare", str(tiny_file), "--margin", "1.5"]) == 2
    assert "--margin '1.5': expected less than 1" in capsys.readouterr().err


def test_other_settings_have_another_folder(tiny_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["compare", str(tiny_file), "--strategies", "majority"]
    other = [*words, "--set", "data.test_rows=9"]
    for command in (words, other, words, other):
        assert main(command) == 0
    folders = [
        tmp_path / "runs" / name for name in ("compare-tiny-colours", "compare-tiny-colours-2")
    ]
    assert sorted((tmp_path / "runs").iterdir()) == folders
    tested = [RunResult.read(folder / "tiny-colours-majority-seed0").n for folder in folders]
    assert tested[0] > tested[1] == 9
    assert main([*other, "--out", str(folders[0])]) == 2
    said = capsys.readouterr().err
    assert "other settings (data.test_rows: None -> 9); give another --out" in said


def test_no_run_is_started_that_would_not_fit(tiny_recipe, tmp_path):
    rungs = build_ladder([tiny_recipe.override({"train.epochs": 1})], ["majority", "full"])
    done = climb(rungs, [0], tmp_path, budget=1e-6)
    assert [run.label for run in done.runs] == ["majority"]
    (sentence,) = done.not_run
    assert sentence.startswith("full, seed 0, was not started: about ")


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        (0, []),
        (1, ["One seed that all have: "]),
        (2, ["The tests are of means over these 2 seeds"]),
    ],
)
def test_the_note_on_seeds_is_of_those_that_were_tested(shared, said):
    notes = note_on_seeds(shared)
    assert len(notes) == len(said)
    assert all(note.startswith(text) for note, text in zip(notes, said, strict=True))


def test_with_a_budget_one_of_two_seeds_may_be_left_to_test(tiny_recipe, tmp_path, monkeypatch):
    """The budget lets the perceptron of the second seed go, as a run that does not fit does."""

    def climbed(rungs, seeds, out, budget, say, *_):
        done = climb(rungs, seeds[:1], out)
        (tmp_path / "more").mkdir()
        more = climb(Ladder(rungs.rungs[:1], ()), seeds[1:], tmp_path / "more")
        return LadderRuns([*done.runs, *more.runs], ["mlp, seed 1, was not started"])

    monkeypatch.setattr("ftkit.compare.run_ladder.climb", climbed)
    rungs = build_ladder([tiny_recipe.override({"train.epochs": 1})], ["majority", "mlp"])
    found, _ = compare(rungs, [0, 1], tmp_path / "out", budget=1.0)
    assert found.seeds == (0,)
    assert found.notes[-1].startswith("One seed that all have: ")


def test_a_run_that_fails_is_named_and_the_others_go_on(tiny_recipe, tmp_path):
    rungs = build_ladder([tiny_recipe.override({"train.epochs": 1})], ["majority", "mlp"])
    (tmp_path / "mlp-tiny-colours-full-seed0").write_text("in the way")
    done = climb(rungs, [0], tmp_path)
    assert [run.label for run in done.runs] == ["majority"]
    assert done.failed == 1
    assert "mlp, seed 0, failed" in done.not_run[0]


def test_after_a_kill_nothing_finished_is_repeated(tiny_file, tmp_path):
    out = tmp_path / "out"
    words = ["compare", str(tiny_file), "--strategies", "majority,full", "--out", str(out)]
    running = subprocess.Popen(
        warm.python("-m", "ftkit.cli", *words), stdout=subprocess.DEVNULL, env=os.environ
    )
    last, deadline = out / "tiny-colours-full-seed0", time.monotonic() + 300
    while not last.exists() and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    finished = {file: file.stat().st_mtime_ns for file in out.glob("*/run.json")}
    assert len(finished) == 1
    assert not (last / "run.json").exists()
    assert main(words) == 0
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert (last / "run.json").exists()
