"""A sweep on a real Ray of this machine: the same study, the same run folders."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from test_sweep import SPACE, assert_is_run

from ftkit import RecipeError, RunError, registry
from ftkit.cli.main import main
from ftkit.finetuning.verify import Verified
from ftkit.planning.search_space import Choices
from ftkit.planning.study import Study, TrialEnd
from ftkit.planning.sweep import sweep

ray = pytest.importorskip("ray", reason="Ray Tune is not installed: pip install 'ftkit[ray]'")

from ftkit.planning.sweep_ray import Cluster, Search, share_cluster, sweep_on_ray  # noqa: E402

pytestmark = pytest.mark.timeout(1500)  # Ray starts many processes: minutes on a busy machine
HERE = Cluster("auto", at_once=1)
MORTAL = "die-once"


@pytest.fixture(scope="module")
def cluster():
    """A Ray with two CPUs, to which this process is connected."""

    def prepare():
        """In each of its processes: verify nothing; die where a test says so."""
        import ftkit.finetuning.finetune

        def verify(*_):
            if Path(MORTAL).exists():
                Path(MORTAL).unlink()
                os._exit(1)
            return Verified(0, None)

        ftkit.finetuning.finetune.verify = verify

    hook = {"worker_process_setup_hook": prepare}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else it is kept in ~/.ray
        ray.init("local", num_cpus=2, include_dashboard=False, logging_level=40, runtime_env=hook)
        yield
        ray.shutdown()


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    """A perceptron on digits, and a working directory to go on in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ftkit.finetuning.finetune.verify", lambda *_: Verified(0, None))
    return registry.find("mlp-digits").override(
        {"train.epochs": 3, "data.train_rows": 300, "data.test_rows": 60}
    )


def test_what_tune_writes_of_a_search_holds_no_secret_of_an_address(cluster, recipe, tmp_path):
    secret = recipe.override({"data.path": "https://joe:s3cret@host/rows.csv?sig=s3cret"})
    search = Search(secret, SPACE, 1, tmp_path / "out", f"sqlite:///{tmp_path}/s3cret.db")
    written = ray.cloudpickle.dumps(search)
    assert b"s3cret" not in written
    assert ray.cloudpickle.loads(written).recipe == secret


def test_trials_are_the_runs_they_are_without_ray_and_the_study_goes_on_without_it(cluster, recipe):
    out = Path("runs")
    found = sweep_on_ray(recipe, SPACE, 3, out, None, Cluster("auto"))
    assert [trial.state for trial in found] == ["complete"] * 3
    assert [t.figure for t in found] == sorted((t.figure for t in found), reverse=True)
    for trial in found:
        assert_is_run(trial)
        lines = (out / "ray" / trial.folder.name / "result.json").read_text().splitlines()
        figures = [json.loads(line).get("validation_accuracy") for line in lines]
        assert max(figure for figure in figures if figure) == trial.figure  # as Tune has it

    times = {path: path.stat().st_mtime_ns for path in out.glob("trial-*/run.json")}
    more = sweep(recipe, SPACE, 4, out)
    assert sorted(trial.number for trial in more) == [0, 1, 2, 3]
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_trial_that_fails_is_reported_and_the_others_go_on(cluster, tiny_recipe, recipe):
    recipe = tiny_recipe.with_strategy("lora").override({"train.epochs": 1})
    space = {
        "strategy.dora": Choices((True, False)),
        "strategy.init": Choices(("pissa", "default")),
    }
    study = Study(recipe, space, Path("runs"), None)
    study.study.enqueue_trial({"strategy.dora": True, "strategy.init": "pissa"})
    study.study.enqueue_trial({"strategy.dora": False, "strategy.init": "default"})
    done, failed = sweep_on_ray(recipe, space, 2, Path("runs"), None, HERE)
    assert (done.number, done.state, failed.number, failed.state) == (1, "complete", 0, "fail")


def test_a_trial_below_the_median_is_cut_off(cluster, recipe):
    study = Study(recipe, SPACE, Path("runs"), None)
    for _ in range(5):
        number, _ = study.ask(100)
        assert not any(study.cut_off(number, value) for value in (0.9, 0.95, 0.96))
        study.end(number, TrialEnd("complete", 0.96, ""))
    bad = {"strategy.learning_rate": 1e-4, "train.batch_size": 32}
    study.study.enqueue_trial(bad)
    found = sweep_on_ray(recipe, SPACE, 6, Path("runs"), None, HERE)
    (trial,) = [trial for trial in found if trial.values == bad]
    assert (trial.state, trial.figure) == ("pruned", None)
    entries = map(json.loads, (trial.folder / "log.jsonl").read_text().splitlines())
    assert sum("validation_accuracy" in entry for entry in entries) == 2
    assert not (trial.folder / "run.json").exists()
    assert not (trial.folder / "checkpoints").exists()


def test_a_trial_whose_process_dies_goes_on_where_it_was(cluster, recipe):
    Path(MORTAL).touch()
    (trial,) = sweep_on_ray(recipe, SPACE, 1, Path("runs"), None, HERE)
    assert not Path(MORTAL).exists()
    assert (trial.number, trial.state) == (0, "complete")
    entries = map(json.loads, (trial.folder / "log.jsonl").read_text().splitlines())
    validated = [entry["epoch"] for entry in entries if "validation_accuracy" in entry]
    assert validated == [1, 2, 3]


def test_what_no_other_values_would_change_ends_the_sweep_and_is_no_trial(cluster, recipe):
    wrong = recipe.override({"data.path": "./nowhere"})
    with pytest.raises(RunError, match=r"data '\./nowhere'"):
        sweep_on_ray(wrong, SPACE, 3, Path("runs"), None, HERE)
    assert Study(wrong, SPACE, Path("runs"), None).missing(3) == 3


def test_a_killed_sweep_leaves_no_process_and_goes_on_with_what_is_missing(cluster, recipe):
    words = ["sweep", "mlp-digits", "--trials", "3", "--epochs", "100", "--at-once", "1"]
    words += ["--set", "strategy.learning_rate=1e-4..1e-2[log]", "--out", "runs", "--ray"]
    command = [sys.executable, "-m", "ftkit.cli", *words, "local"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 300
        while not Path("runs/trial-0001/log.jsonl").exists():
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        started = psutil.Process(driver.pid).children(recursive=True)
        agents = [process for process in started if process.name().endswith("Agent")]
        assert any(process.name() == "raylet" for process in started)
        driver.send_signal(signal.SIGKILL)
    _, left = psutil.wait_procs(set(started) - set(agents), timeout=60)
    assert left == []
    for agent in agents:  # they hold nothing, and would end by themselves, a minute later
        with suppress(psutil.NoSuchProcess):
            agent.kill()

    finished = Path("runs/trial-0000/run.json").stat().st_mtime_ns
    assert not Path("runs/trial-0001/run.json").exists()
    assert main([*words, "auto"]) == 0
    assert Path("runs/trial-0000/run.json").stat().st_mtime_ns == finished
    values = [
        json.loads(Path(f"runs/trial-000{n}/recipe.json").read_text())["strategy"] for n in range(4)
    ]
    assert values[1] == values[2]  # run again under a number of its own
    assert len(list(Path("runs").glob("trial-*/run.json"))) == 3


def test_a_trial_that_cannot_be_run_is_a_failed_one(recipe):
    search = Search(recipe, SPACE, 2, Path("runs"), None)
    assert search.suggest("a")["trial"] == 0
    assert search.suggest("b")["trial"] == 1
    assert search.suggest("c") == Search.FINISHED
    search.on_trial_complete("a", error=True)
    search.on_trial_complete(
        "b", result={"state": "complete", "figure": 0.5, "why": "it was", "loss": None}
    )
    done, failed = search.study.trials()
    assert (done.number, done.figure, failed.number, failed.state) == (1, 0.5, 0, "fail")


CPUS, GPUS = {"CPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("cluster", "machines", "trials", "expected"),
    [
        (Cluster("auto"), [CPUS], 20, (1, 0, 8)),
        (Cluster("auto"), [CPUS], 4, (2, 0, 4)),
        (Cluster("auto", at_once=2), [CPUS], 20, (4, 0, 2)),
        (Cluster("auto", at_once=3), [CPUS, {"CPU": 4.0}], 20, (4, 0, 3)),
        (Cluster("auto", cpus=3), [CPUS], 20, (3, 0, 2)),
        (Cluster("auto"), [CPUS, GPUS], 20, (4, 1, 4)),  # one for each GPU
        (Cluster("auto", gpus=0.5), [GPUS], 20, (2, 0.5, 8)),
        (Cluster("auto", gpus=0), [GPUS], 4, (4, 0, 4)),
        (Cluster("auto", gpus=1, cpus=2, at_once=8), [CPUS], 20, (2, 1, 8)),  # one that grows
    ],
)
def test_each_trial_gets_an_equal_share_of_a_machine(cluster, machines, trials, expected):
    assert share_cluster(cluster, machines, trials) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ray", "local", "--ray-gpus", "2"], "--ray-gpus '2': expected at most 1"),
        (["--ray", "local", "--at-once", "0"], "--at-once '0': expected greater than 0"),
        (["--at-once", "2"], "add --ray"),
        (["--ray", "127.0.0.1:9"], "--ray 127.0.0.1:9: cannot connect"),
    ],
)
def test_what_cannot_be_is_one_line(words, message, recipe, monkeypatch, capsys):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert main(["sweep", "mlp-digits", "--set", "train.epochs=1,2", *words]) == 2
    *_, said = capsys.readouterr().err.strip().splitlines()
    assert message in said


def test_more_than_a_machine_has_is_refused():
    with pytest.raises(RecipeError, match="no machine has 1 CPUs and 1 GPUs"):
        share_cluster(Cluster("local", gpus=1), [CPUS], 3)


def test_ray_is_refused_in_a_launched_process(recipe, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["sweep", "mlp-digits", "--set", "train.epochs=1,2", "--ray", "local"]) == 2
    assert "leave out accelerate launch" in capsys.readouterr().err


def test_without_ray_the_command_says_what_to_install(recipe, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    assert main(["sweep", "mlp-digits", "--set", "train.epochs=1,2", "--ray", "local"]) == 2
    assert "pip install 'ftkit[ray]'" in capsys.readouterr().err
