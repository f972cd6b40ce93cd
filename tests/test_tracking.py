"""Trackers keep what a run writes down, as one run each, and never change or stop it."""

import json
import logging
import os
import random
import shutil
import sys
import types
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from conftest import CACHES
from perceptrons import weights
from tracker_stores import EACH, READERS, THERE, id_of

os.environ["TRACKIO_DIR"] = str(CACHES / "trackio")  # which it reads when it is imported

from ftkit import Data, RecipeError, TrainingError, finetune
from ftkit.cli.main import main
from ftkit.machine.runtime import Machine
from ftkit.planning.search_space import Range
from ftkit.planning.sweep import sweep
from ftkit.runs.finished import read_journal
from ftkit.runs.journal import JournalFile, watched
from ftkit.runs.tracking import asked
from ftkit.runs.tracking.asked import TRACKERS, Tracking, tracking_of
from ftkit.runs.tracking.follow import (
    Follower,
    figures_of,
    following,
    settings_of,
)
from ftkit.runs.tracking.tracker import Tracker

ALL = Tracking(tuple(THERE))
ONE_IS_THERE = pytest.mark.skipif(not THERE, reason="no tracker is installed")
CPU = Machine(0, 1, torch.device("cpu"), "cpu")


class Listener(Tracker):
    """A tracker that remembers what it was given, and fails where it is told to."""

    name = "listener"
    fails: str | None = None

    def __init__(self):
        self.calls, self.lines = [], []

    def _called(self, method):
        self.calls.append(method)
        if method == self.fails:
            raise OSError(28, "No space left on device")

    def begin(self, about, known):
        self._called("begin")
        return "one"

    def where(self):
        return "here"

    def log(self, lines):
        self._called("log")
        self.lines += lines

    def finish(self, final):
        self._called("finish")

    def close(self, end):
        self._called("close")
        self.end = end


@pytest.fixture
def listening(monkeypatch):
    """Trackings by a listener; the list gets each that is made."""
    made = []

    class Told(Listener):
        def __init__(self):
            super().__init__()
            made.append(self)

    monkeypatch.setitem(TRACKERS, "listener", Told)
    monkeypatch.setattr(asked, "find_spec", lambda _: types.SimpleNamespace(origin="here"))
    return Told, made, Tracking(("listener",))


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        from conftest import leave_unverified

        leave_unverified(patch)
        yield patch


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """MLflow's file of SQLite without a run: its tables take seconds to make."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    if "mlflow" in THERE:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(empty_store, tmp_path):
    """The same where runs in tmp_path look for it."""
    (tmp_path / "mlflow").mkdir()
    if empty_store.exists():
        shutil.copy(empty_store, tmp_path / "mlflow")


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory, module_patch):
    """The folder of a perceptron's run that all trackers followed."""
    from perceptrons import of_flowers

    root = tmp_path_factory.mktemp("perceptron")
    finetune(of_flowers(root).override({"train.epochs": 4}), root / "small-mlp", track=ALL)
    return root / "small-mlp"


@pytest.fixture(scope="module")
def backbone(tiny_recipe, tmp_path_factory, module_patch):
    """The folder of a tiny ViT's run of two stages that all trackers followed."""
    folder = tmp_path_factory.mktemp("backbone") / "small-vit"
    recipe = tiny_recipe.with_strategy("lpft").override({"train.epochs": 2})
    finetune(recipe, folder, track=ALL)
    return folder


def curves_of(run):
    """Each figure of log.jsonl, and of those of earlier stages, once for each step."""
    found = {}
    for file in sorted(run.rglob("log.jsonl")):
        stage = file.parent.relative_to(run).as_posix()
        for entry in read_journal(file.parent):
            for name, value in figures_of(entry, "" if stage == "." else f"{stage}/").items():
                found.setdefault(name, {}).setdefault(entry["step"], value)
    return {name: sorted(points.items()) for name, points in found.items()}


def assert_holds(run, tracker):
    """The tracker has the settings, curves, figures and pictures that lie in the run folder."""
    kept, curves = READERS[tracker](run), curves_of(run)
    assert kept.runs == 1
    for name, points in curves.items():
        assert [step for step, _ in kept.curves[name]] == [step for step, _ in points], name
        if "seconds" in name:  # steps that are taken again take other times
            continue
        values = [value for _, value in points]
        assert [value for _, value in kept.curves[name]] == pytest.approx(values, rel=1e-6), name
    result = json.loads((run / "run.json").read_text())
    for name, measured in result["metrics"].items():
        for end, value in (("", "value"), ("_low", "low"), ("_high", "high")):
            assert kept.final[name + end] == pytest.approx(measured[value], rel=1e-6)
    assert kept.final["parameters_trained"] == result["parameters_trained"]
    assert kept.final["seconds_total"] == pytest.approx(result["seconds"]["total"], rel=1e-6)
    recipe = json.loads((run / "recipe.json").read_text())
    for section, name in (("train", "batch_size"), ("strategy", "kind"), ("data", "path")):
        assert str(kept.settings[f"{section}.{name}"]) == str(recipe[section][name])
    assert kept.pictures == {f"plots/{file.stem}" for file in (run / "plots").glob("*.png")}
    assert len(kept.pictures) == 2
    return curves


@pytest.mark.parametrize("tracker", EACH)
def test_a_perceptron_has_settings_curves_figures_and_pictures(tracker, perceptron):
    curves = assert_holds(perceptron, tracker)
    assert len(curves["loss"]) == len(curves["validation_accuracy"]) == 4


@pytest.mark.parametrize("tracker", EACH)
def test_a_backbone_has_the_curves_of_all_its_stages(tracker, backbone):
    curves = assert_holds(backbone, tracker)
    assert curves["probe/loss"]
    assert curves["learning_rate"]
    assert len(curves["validation_loss"]) == 3  # one is of the head alone


def break_off(recipe, run, after, **named):
    """Train until so many validations are through, and then no more, between two checkpoints."""
    seen = []

    def end(figures):
        seen.append(figures)
        if len(seen) == after:
            raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError, match="the power is gone"), watched(end):
        finetune(recipe, run, **named)


@pytest.mark.parametrize("tracker", EACH)
def test_a_run_that_broke_off_goes_on_as_one_run_with_one_curve(
    tracker, flowers, tmp_path, unverified, store
):
    recipe = flowers.override({"train.epochs": 12, "train.checkpoint_every": "20"})
    run, track = tmp_path / f"broken-{tracker}", Tracking((tracker,))
    break_off(recipe, run, 6, track=track)
    begun, given = id_of(run, tracker), json.loads((run / "tracking.json").read_text())
    assert given[tracker]["lines"] == {"log.jsonl": 12}
    finetune(recipe, run, resume=True, track=track)
    assert len(assert_holds(run, tracker)["loss"]) == 12
    assert tracker == "trackio" or id_of(run, tracker) == begun


@ONE_IS_THERE
def test_a_backbone_that_broke_off_goes_on_as_one_run_with_one_curve(
    tiny_recipe, tmp_path, unverified, store
):
    recipe, run = tiny_recipe.override({"train.epochs": 3}), tmp_path / "broken-vit"
    break_off(recipe, run, 2, track=ALL)
    finetune(recipe, run, resume=True, track=ALL)
    for tracker in THERE:
        assert len(assert_holds(run, tracker)["validation_loss"]) == 3


@pytest.mark.parametrize("tracker", EACH)
def test_tracking_that_begins_with_the_second_session_has_the_whole_curve(
    tracker, flowers, tmp_path, unverified, store
):
    recipe = flowers.override({"train.epochs": 6, "train.checkpoint_every": "8"})
    run = tmp_path / f"late-{tracker}"
    break_off(recipe, run, 4)
    assert any((run / "checkpoints").glob("checkpoint-*"))
    finetune(recipe, run, resume=True, track=Tracking((tracker,)))
    assert len(assert_holds(run, tracker)["loss"]) == 6


@ONE_IS_THERE
def test_a_finished_run_that_is_resumed_adds_nothing(perceptron, caplog):
    def state():
        folders = (perceptron, perceptron.parent / "mlflow")
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        return {file: file.read_bytes() for file in files}

    before = state()
    recipe_file = perceptron / "recipe.json"
    words = ["train", str(recipe_file), "--out", str(perceptron), "--resume"]
    assert main([*words, "--track", ",".join(THERE)]) == 0
    assert state() == before


@pytest.mark.parametrize("where", ["begin", "log", "finish", "close"])
def test_a_tracker_that_fails_changes_no_weight_and_is_said_once(
    where, flowers, tmp_path, unverified, listening, caplog
):
    recipe, (kind, made, track) = flowers.override({"train.epochs": 3}), listening
    kind.fails = where
    with caplog.at_level(logging.WARNING, logger="ftkit"):
        tracked = finetune(recipe, tmp_path / "tracked", track=track)
    said = [record.getMessage() for record in caplog.records if "tracking by" in record.msg]
    assert len(said) == 1
    assert said[0].startswith("tracking by listener failed (OSError: [Errno 28] No space left")
    assert said[0].endswith("; training goes on without it")
    assert made[0].calls[-1] == where, "it is left alone afterwards"
    plain = finetune(recipe, tmp_path / "plain")
    assert tracked.metrics == plain.metrics
    for name, tensor in weights(tmp_path / "plain").items():
        assert torch.equal(tensor, weights(tmp_path / "tracked")[name])


def test_a_tracker_draws_none_of_the_random_numbers_of_the_run(listening, tmp_path):
    kind, _, track = listening

    def draw(self, lines):
        random.random(), np.random.rand(), torch.rand(1)

    kind.log = draw
    follower = Follower(track, tmp_path, CPU)
    follower.begin({})
    drawn = []
    for followed in (False, True):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if followed:
            follower.line(tmp_path / "log.jsonl", 1, {"step": 1, "loss": 0.5})
            follower.give()
        drawn.append((random.random(), np.random.rand(), float(torch.rand(1))))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("error", "end"),
    [(None, "finished"), (TrainingError("no"), "failed"), (KeyboardInterrupt(), "stopped")],
)
def test_a_tracker_is_told_how_the_run_ended(error, end, listening, tmp_path, flowers):
    _, made, track = listening
    with pytest.raises(type(error)) if error else nullcontext():  # noqa: SIM117
        with following(track, tmp_path, flowers, CPU):
            if error:
                raise error
    assert made[0].end == end


def test_only_rank_0_tracks_and_only_the_logs_of_its_run(listening, tmp_path, flowers):
    _, made, track = listening
    with following(track, tmp_path / "one", flowers, Machine(1, 2, torch.device("cpu"), "cpu")):
        pass
    assert made == []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with following(track, tmp_path / "one", flowers, CPU):
        for name in ("one", "other"):
            JournalFile(tmp_path / name / "log.jsonl", True, 0).write(step=3, loss=0.5)
    assert made[0].lines == [(3, {"loss": 0.5})]


def test_stages_that_were_complete_are_given_before_the_last_one(listening, tmp_path, flowers):
    _, made, track = listening
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    with following(track, tmp_path, flowers, CPU):
        JournalFile(tmp_path / "log.jsonl", True, 0).write(step=1, loss=0.25)
    assert made[0].lines == [(1, {"probe/loss": 0.5}), (1, {"loss": 0.25})]


def test_what_is_remembered_may_be_damaged(listening, tmp_path, flowers, caplog):
    _, made, track = listening
    (tmp_path / "tracking.json").write_text('{"listener": {"id": 3, "lin')
    with following(track, tmp_path, flowers, CPU):
        pass
    assert "tracking.json cannot be read" in caplog.text
    assert made[0].end == "finished"
    assert id_of(tmp_path, "listener") == "one"


def test_figures_are_numbers_and_those_of_a_list_are_counted():
    entry = {"step": 4, "loss": 0.5, "validation_by": "cross-validation", "gradient_norms": [1, 2]}
    expected = {"probe/loss": 0.5, "probe/gradient_norms_1": 1, "probe/gradient_norms_2": 2}
    assert figures_of(entry, "probe/") == expected


def test_settings_hold_no_secret_of_an_address(flowers):
    data = Data(path="https://joe:geheim@host/rows.csv?token=geheim")
    settings = settings_of(flowers.override({"data": data}))
    assert settings["data.path"] == "https://host/rows.csv"
    assert "geheim" not in str(settings)
    assert settings["train.batch_size"] == 8
    assert settings["backbone.hidden"] == "8"


@pytest.mark.skipif({"mlflow", "tensorboard", "wandb"} - {*THERE}, reason="mlflow is not installed")
def test_trials_of_a_sweep_are_children_of_one_parent(flowers, tmp_path, unverified, store):
    from mlflow import MlflowClient

    out, space = tmp_path / "search", {"strategy.learning_rate": Range(1e-3, 1e-1, log=True)}
    recipe = flowers.override({"train.epochs": 2})
    for trials in (1, 2):  # the second call goes on with the first
        found = sweep(recipe, space, trials, out, track=Tracking(("mlflow", "wandb")))
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'ftkit'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["search", "trial-0000", "trial-0001"]
    parent = runs.pop("search")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert "mlflow.parentRunId" not in parent.data.tags
    assert parent.data.metrics["best_trial"] == found[0].number
    assert parent.data.metrics["validation_accuracy"] == found[0].figure
    assert parent.data.params["tried.strategy.learning_rate"].startswith("Range")
    from tracker_stores import wandb_records

    files = out.glob("trial-*/tracking/wandb/offline-run-*/*.wandb")
    groups = [record.run.run_group for file in files for record in wandb_records(file)]
    assert {group for group in groups if group} == {"search"}


@pytest.mark.skipif("mlflow" not in THERE, reason="mlflow is not installed")
def test_trainings_of_a_comparison_are_children_of_one_parent(flowers, tmp_path, unverified, store):
    from mlflow import MlflowClient

    file, out = tmp_path / "flowers.json", tmp_path / "side-by-side"
    file.write_text(flowers.override({"train.epochs": 2}).to_json())
    words = ["compare", str(file), "--strategies", "majority,mlp", "--out", str(out)]
    assert main([*words, "--track", "mlflow"]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'ftkit'")
    child, parent = sorted(
        client.search_runs([experiment.experiment_id]),
        key=lambda run: run.info.run_name == "side-by-side",
    )
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (out / child.info.run_name / "run.json").is_file()
    assert {child.info.status, parent.info.status} == {"FINISHED"}


@pytest.mark.parametrize("spec", [None, types.SimpleNamespace(origin=None)])
def test_a_missing_package_is_refused_in_one_line(spec, monkeypatch, capsys, tmp_path):
    """A folder of that name, as W&B leaves one behind, is no package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asked, "find_spec", lambda _: spec)
    for command in ("train", "compare", "sweep"):
        assert main([command, "mlp-digits", "--track", "tensorboard,mlflow"]) == 2
        told = "error: --track tensorboard: the package tensorboard is missing; pip install "
        assert capsys.readouterr().err == f"{told}'ftkit[tensorboard]'\n"
    assert not any(tmp_path.iterdir())


@ONE_IS_THERE
def test_a_wrong_name_and_a_comparison_without_trainings_are_refused(capsys, perceptron):
    with pytest.raises(RecipeError, match=r"tensorbord: .*did you mean 'tensorboard'"):
        tracking_of(["tensorbord"])
    for words in (["mlp-digits", "--backbones", "auto"], [str(perceptron)]):
        assert main(["compare", *words, "--track", THERE[0]]) == 2
        assert "nothing is trained here" in capsys.readouterr().err


@pytest.mark.skipif("wandb" not in THERE, reason="wandb is not installed")
def test_wandb_asks_nobody_for_a_key(tmp_path):
    """With a terminal, where it would ask; the answer is an error, which follow.py catches."""
    code = (
        "from pathlib import Path\n"
        "from ftkit.runs.tracking.tracker import About\n"
        "from ftkit.runs.tracking.wandb import Wandb\n"
        f"here = Path({str(tmp_path)!r})\n"
        "try: Wandb().begin(About('a', here, here, {}), None)\n"
        "except Exception as error: print('refused:', type(error).__name__)\n"
    )
    child, terminal = pytest.importorskip("pty").fork()
    if not child:
        os.environ |= {"WANDB_MODE": "online", "HOME": str(tmp_path), "NETRC": str(tmp_path / "n")}
        os.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"
        os.environ.pop("WANDB_API_KEY", None)
        os.execv(sys.executable, [sys.executable, "-c", code])
    said = b""
    while b"Error" not in said and b"hoice" not in said and b"key:" not in said:
        try:
            said += os.read(terminal, 4096)
        except OSError:  # it has ended
            break
    os.close(terminal)
    os.waitpid(child, 0)
    assert b"refused: UsageError" in said
