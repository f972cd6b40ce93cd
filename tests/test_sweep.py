"""A sweep: its space is checked first, its study goes on, its trials are ordinary runs."""

import json
import os
import subprocess
import sys

import optuna
import pytest
import warm
from test_result import make

import ftkit.finetuning.finetune
from ftkit import RecipeError, RunError, RunResult, registry
from ftkit.cli.main import main
from ftkit.cli.sweep import as_searched, chosen_lines
from ftkit.finetuning.verify import Verified
from ftkit.planning.search_space import Choices, Range, parse_space, require_allowed
from ftkit.planning.study import Study, TrialEnd
from ftkit.planning.sweep import run_trial, sweep
from ftkit.runs.result import Measured
from ftkit.runs.validation import KeptValidation, kept_validation

SPACE = {
    "strategy.learning_rate": Range(1e-4, 1e-1, log=True),
    "train.batch_size": Choices((16, 32)),
}


@pytest.fixture(autouse=True)
def _not_verified(monkeypatch):
    """test_finetune verifies what runs leave; here that is a process for every trial."""
    monkeypatch.setattr(ftkit.finetuning.finetune, "verify", lambda *_: Verified(0, None))


@pytest.fixture
def recipe():
    """A perceptron on digits: a trial takes a fraction of a second."""
    return registry.find("mlp-digits").override(
        {"train.epochs": 3, "data.train_rows": 300, "data.test_rows": 60}
    )


def test_trials_differ_as_the_space_says(recipe):
    own = recipe.override({"train.least_steps": 150, "train.learning_rate_batch": 64})
    epochs, rates = (
        as_searched(own, {path}).train for path in ("train.epochs", "strategy.learning_rate")
    )
    assert (epochs.least_steps, epochs.learning_rate_batch) == (0, 64)
    assert (rates.least_steps, rates.learning_rate_batch) == (150, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("strategy.learning_rate=1e-5..1e-3[log]", Range(1e-5, 1e-3, log=True)),
        ("strategy.rank=4..32", Range(4, 32)),
        ("train.warmup=0..0.5", Range(0, 0.5)),
        ("strategy.rank=4,8,16", Choices((4, 8, 16))),
        ("train.schedule=cosine,linear", Choices(("cosine", "linear"))),
        ("strategy.dora=true,false", Choices((True, False))),
        ("strategy.layer_decay=null,0.8", Choices((None, 0.8))),
        ("train.epochs=3", None),
        ("backbone.hidden=[64,32]", None),
        ("data.path=../photos", None),
    ],
)
def test_a_flag_is_a_range_choices_or_a_value(text, expected):
    space, fixed = parse_space([text])
    path = text.partition("=")[0]
    assert (space, fixed) == (({path: expected}, []) if expected else ({}, [text]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.warmup=0.5..0.1"], "expected a range with low < high"),
        (["strategy.learning_rate=0..1[log]"], "0 < low < high"),
        (["train.epochs=1,2", "train.epochs=3,4"], "given twice"),
        (["train.epochs=1..."], "two numbers"),
        (["strategy.learnin_rate=1e-5..1e-3"], "did you mean 'strategy.learning_rate'"),
        (["train.warmup=0..2"], "train.warmup = 2"),
        (["train.epochs=3"], "nothing to try"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_before_any_training(changes, message, recipe):
    with pytest.raises(RecipeError, match=message):
        require_allowed(recipe, parse_space(changes)[0])


def assert_is_run(trial):
    """The trial is a finished run with its values, and its figure that of the run."""
    assert RunResult.read(trial.folder).status == "complete"
    written = json.loads((trial.folder / "recipe.json").read_text())
    assert written["strategy"]["learning_rate"] == trial.values["strategy.learning_rate"]
    assert written["train"]["batch_size"] == trial.values["train.batch_size"]
    lines = map(json.loads, (trial.folder / "log.jsonl").read_text().splitlines())
    assert trial.figure in [line.get("validation_accuracy") for line in lines]
    kept = kept_validation(trial.folder, RunResult.read(trial.folder), "accuracy")
    assert kept == (trial.figure, trial.loss)


def test_every_trial_is_a_run_and_the_best_by_validation_stands_first(recipe, tmp_path):
    found = sweep(recipe, SPACE, 3, tmp_path)
    assert len(found) == 3
    complete = [trial for trial in found if trial.state == "complete"]
    assert found[: len(complete)] == complete
    assert [t.figure for t in complete] == sorted((t.figure for t in complete), reverse=True)
    for trial in complete:
        assert_is_run(trial)


def test_of_equal_figures_the_lower_validation_loss_is_chosen(recipe, tmp_path):
    study = Study(recipe, SPACE, tmp_path, None)
    for figure, loss in ((0.9, 0.5), (0.9, 0.3), (0.9, None), (0.8, 0.1)):
        number, _ = study.ask(4)
        study.end(number, TrialEnd("complete", figure, "", loss))
    assert [trial.number for trial in study.trials()] == [1, 0, 2, 3]


def leave_run(folder, validation, test):
    """Write what a finished run of 60 test rows leaves, with these figures."""
    folder.mkdir(parents=True)
    accuracy = Measured(value=test, low=test - 0.1, high=test + 0.1, method="Wilson score")
    make(n=60, metrics={"accuracy": accuracy}, validation=validation).write(folder)
    lines = [{"step": 1, "loss": 2.0}]
    figures = ((0.5, 0.8), (0.75, 1.2), (0.75, 0.9), (0.7, 0.7))
    lines += [{"validation_accuracy": value, "validation_loss": loss} for value, loss in figures]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_figure_is_that_of_the_kept_model_and_of_older_runs_the_best_of_the_log(tmp_path):
    leave_run(tmp_path / "new", {"accuracy": 0.7, "loss": 0.9}, 0.6)
    leave_run(tmp_path / "old", {}, 0.6)
    new, old = (RunResult.read(tmp_path / name) for name in ("new", "old"))
    assert kept_validation(tmp_path / "new", new, "accuracy") == KeptValidation(0.7, 0.9)
    assert kept_validation(tmp_path / "old", old, "accuracy") == KeptValidation(0.75, 0.9)
    assert kept_validation(tmp_path / "old", old, "loss") == KeptValidation(0.7, 0.7)
    assert kept_validation(tmp_path / "old", old, "f1") is None
    (tmp_path / "old" / "log.jsonl").unlink()
    assert kept_validation(tmp_path / "old", old, "accuracy") is None


def test_the_choice_is_by_validation_though_another_trial_is_better_on_test_rows(recipe, tmp_path):
    study = Study(recipe, SPACE, tmp_path, None)
    for figure, test in ((0.8, 0.75), (0.9, 0.5)):
        number, _ = study.ask(2)
        study.end(number, TrialEnd("complete", figure, ""))
        leave_run(tmp_path / f"trial-{number:04d}", {"accuracy": figure}, test)
    chosen, test, optimistic = chosen_lines(study.trials(), "accuracy")
    assert f"trial 1 in {tmp_path / 'trial-0001'}" in chosen
    assert "accuracy 0.9000, the best of 2" in chosen
    assert "accuracy 0.5000 [0.4000, 0.6000] on 60 rows" in test
    assert "0.75" not in chosen + test
    assert "a validation figure that was chosen as the best of 2 is optimistic" in optimistic


def test_a_study_goes_on_and_repeats_nothing(recipe, tmp_path):
    first = {trial.number: trial.values for trial in sweep(recipe, SPACE, 2, tmp_path)}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trial-*/run.json")}
    more = {trial.number: trial.values for trial in sweep(recipe, SPACE, 3, tmp_path)}
    assert first.items() < more.items()
    assert len({str(values) for values in more.values()}) == 3
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert len(sweep(recipe, SPACE, 3, tmp_path)) == 3


def test_a_trial_whose_process_died_is_run_again(recipe, tmp_path):
    study = Study(recipe, SPACE, tmp_path, None)
    number, values = study.ask(1)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    study.running[number].set_user_attr("pid", gone.pid)
    (found,) = sweep(recipe, SPACE, 1, tmp_path)
    assert found.number == number + 1
    assert found.values == values


def test_a_trial_of_a_process_that_lives_is_left_to_it(recipe, tmp_path):
    study = Study(recipe, SPACE, tmp_path, None)
    number, _ = study.ask(3)
    study.running[number].set_user_attr("pid", os.getppid())
    assert len(sweep(recipe, SPACE, 3, tmp_path)) == 2  # two beside the one under way


def test_a_trial_below_the_median_is_cut_off(recipe, tmp_path):
    study = Study(recipe, SPACE, tmp_path, None)
    for _ in range(5):
        number, _ = study.ask(100)
        assert not any(study.cut_off(number, value) for value in (0.9, 0.95, 0.96))
        study.end(number, TrialEnd("complete", 0.96, ""))
    bad = {"strategy.learning_rate": 1e-4, "train.batch_size": 32}
    study.study.enqueue_trial(bad)
    found = sweep(recipe, SPACE, 6, tmp_path)
    (trial,) = [trial for trial in found if trial.values == bad]
    assert trial.state == "pruned"
    assert trial.figure is None
    entries = map(json.loads, (trial.folder / "log.jsonl").read_text().splitlines())
    assert sum("validation_accuracy" in entry for entry in entries) == 2
    assert not (trial.folder / "run.json").exists()
    assert not (trial.folder / "checkpoints").exists()


def test_trials_of_a_trainer_are_cut_off_too(tiny_recipe, tmp_path):
    recipe = tiny_recipe.override({"train.epochs": 3})
    seen = []

    def after_two(value):
        seen.append(value)
        return len(seen) == 2

    ended = run_trial(recipe, {"strategy.learning_rate": 1e-3}, tmp_path / "t", after_two)
    assert (ended.state, ended.figure, len(seen)) == ("pruned", None, 2)


def test_a_trial_that_fails_counts_and_says_why(tiny_recipe, tmp_path):
    recipe = tiny_recipe.with_strategy("lora")
    space = {
        "strategy.dora": Choices((True, False)),
        "strategy.init": Choices(("pissa", "default")),
    }
    study = Study(recipe, space, tmp_path, None)
    study.study.enqueue_trial({"strategy.dora": True, "strategy.init": "pissa"})
    with pytest.raises(RunError, match=r"no trial .* is complete; the last one failed: .*choose"):
        sweep(recipe, space, 1, tmp_path)


def test_another_recipe_does_not_go_on_with_a_study(recipe, tmp_path):
    sweep(recipe, SPACE, 1, tmp_path)
    with pytest.raises(RunError, match="has another recipe"):
        sweep(recipe.override({"train.epochs": 4}), SPACE, 2, tmp_path)
    with pytest.raises(RunError, match="has another space"):
        sweep(recipe, {"train.batch_size": SPACE["train.batch_size"]}, 2, tmp_path)


def test_a_study_of_a_version_with_fewer_settings_goes_on(recipe, tmp_path):
    about = json.loads(Study(recipe, SPACE, tmp_path, None).study.user_attrs["recipe"])
    del about["train"]["learning_rate_batch"]
    older = Study(recipe, SPACE, tmp_path, None).study
    older.set_user_attr("recipe", json.dumps(about))
    assert Study(recipe, SPACE, tmp_path, None).missing(2) == 2
    older.set_user_attr("recipe", json.dumps(about | {"name": "other"}))
    with pytest.raises(RunError, match="has another recipe"):
        Study(recipe, SPACE, tmp_path, None)


def test_two_processes_share_a_study_in_a_database(tmp_path):
    words = ["ftkit", "sweep", "mlp-digits", "--trials", "3", "--epochs", "1", "--set"]
    words += ["strategy.learning_rate=1e-4..1e-2[log]", "--set", "data.train_rows=200"]
    words += ["--out", str(tmp_path / "runs"), "--storage", f"sqlite:///{tmp_path}/study.db"]
    command = warm.python("-m", "ftkit.cli", *words[1:])
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert any("ftkit train --recipe" in text for text in texts)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.state.is_finished() for trial in study.trials] == [True] * len(study.trials)
    assert len(study.trials) in (3, 4)  # both may ask for the last one at once
    assert len({t.user_attrs["pid"] for t in study.trials}) == 2


def test_a_database_that_is_none_is_one_line(tmp_path, capsys):
    words = ["sweep", "mlp-digits", "--trials", "1", "--set", "train.epochs=1,2"]
    words += ["--out", str(tmp_path / "runs"), "--storage", "nowhere://me:secret@host/db"]
    assert main(words) != 0
    *_, said = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("error: --storage: the database cannot be opened")
    assert "secret" not in said


def test_the_command_names_the_best_recipe_and_how_to_run_it(tmp_path, capsys):
    words = ["sweep", "mlp-digits", "--trials", "2", "--epochs", "2", "--out", str(tmp_path)]
    words += ["--set", "strategy.learning_rate=1e-4..1e-2[log]", "--set", "data.train_rows=200"]
    assert main(words) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    (path,) = [line.split()[1] for line in out.splitlines() if line.startswith("recipe ")]
    assert f"ftkit train --recipe {path}" in out
    assert main(["train", "--recipe", path, "--out", str(tmp_path / "again")]) == 0


def test_ctrl_c_ends_a_sweep_with_a_status_of_its_own_and_the_same_command_goes_on(
    monkeypatch, tmp_path, capsys
):
    words = ["sweep", "mlp-digits", "--trials", "1", "--epochs", "1", "--out", str(tmp_path)]
    words += ["--set", "strategy.learning_rate=1e-4..1e-2[log]", "--set", "data.train_rows=200"]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ftkit.planning.sweep.finetune", interrupted)
        assert main(words) == 130
    assert "stopped; go on with: ftkit sweep mlp-digits --trials 1" in capsys.readouterr().err
    assert main(words) == 0


def test_without_optuna_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "ftkit.planning.sweep", raising=False)
    assert main(["sweep", "mlp-digits", "--set", "train.epochs=1,2"]) == 2
    assert "pip install 'ftkit[sweep]'" in capsys.readouterr().err


def test_a_sweep_is_of_one_strategy(capsys):
    words = ["sweep", "effnet-digits", "--strategy", "auto", "--set", "train.epochs=1..3"]
    assert main(words) == 2
    assert "a sweep tries the settings of one strategy; name it" in capsys.readouterr().err
