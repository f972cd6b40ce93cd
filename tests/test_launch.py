"""Several processes and killed ones: `accelerate launch`, as the README says it."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import language_checkpoints as tiny
import numpy as np
import pyarrow.parquet as pq
import pytest
import warm
from safetensors.numpy import load_file

from ftkit import Backbone, Data, Full, LanguageModelling, Recipe, Train
from ftkit.machine.launch import requested_processes

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ["launch", "--cpu", "--num_machines", "1", "--mixed_precision", "no"]
ON_CPU = {"ACCELERATE_USE_CPU": "true", "ACCELERATE_MIXED_PRECISION": "no"}


def launch(processes, *words, cwd, script="finetune.py", by_accelerate=False, **environment):
    """Run a script in so many processes: by accelerate, or as it ends up doing for the CPU.

    What `accelerate launch` does takes minutes on a busy machine, as it starts Python four times
    before anything is trained. Without it, all processes are forked from one that is warm.
    """
    script = str(ROOT / "scripts" / script)
    if by_accelerate:
        command = ["accelerate", *LAUNCH, "--dynamo_backend", "no", "--num_processes"]
        command += [str(processes), script]
    elif processes > 1:
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command = warm.python(*command, script)
        environment |= ON_CPU
    else:
        command, environment = warm.python(script), environment | ON_CPU
    return subprocess.run(
        [*command, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
    )


@pytest.fixture
def recipe_file(tiny_recipe, tmp_path):
    recipe = tiny_recipe.override(
        {"train.batch_size": 8, "strategy.learning_rate": 1e-3, "data.test_fraction": 0.35}
    )
    (tmp_path / "mine.json").write_text(recipe.to_json())
    return tmp_path / "mine.json"


def test_two_processes_make_one_run_with_each_test_row_counted_once(recipe_file, tmp_path):
    tables = {}
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        words = ("--recipe", recipe_file, "--out", out)
        done = launch(processes, *words, cwd=tmp_path, by_accelerate=processes == 2)
        assert done.returncode == 0, done.stderr
        run = json.loads((out / "run.json").read_text())
        assert run["world_size"] == processes
        tables[processes] = pq.read_table(out / "predictions.parquet").to_pydict()
        assert run["n"] == len(tables[processes]["index"]) == 26  # 35 % of 72, rounded up
        if processes == 2:
            assert done.stdout.count("parameters trained") == 1  # rank 0 alone speaks
            assert done.stderr.count("epoch 1 of 2") == 1
    assert tables[1]["index"] == tables[2]["index"]
    assert tables[1]["label"] == tables[2]["label"]


LISTS_THREADS = """
import os, sys
from pathlib import Path
from ftkit.cli.main import main
status = main(["train", *sys.argv[1:]])
names = sorted(file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm"))
Path(f"threads-{os.environ['RANK']}").write_text(" ".join(names))
sys.exit(status)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed on Linux")
def test_no_thread_of_a_connection_is_left_when_python_ends(recipe_file, tmp_path):
    script, out = tmp_path / "train.py", tmp_path / "out"
    script.write_text(LISTS_THREADS)
    words = ("--recipe", recipe_file, "--out", out, "--max-steps", "2")
    done = launch(2, *words, cwd=tmp_path, script=script)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        names = (tmp_path / f"threads-{rank}").read_text()
        assert "python" in names
        assert "gloo" not in names


def test_features_and_head_are_the_same_for_one_and_two_processes(recipe_file, tmp_path):
    losses, cached = [], []
    for processes in (1, 2):
        out, cache = tmp_path / f"out{processes}", tmp_path / f"cache{processes}"
        words = ("--recipe", recipe_file, "--out", out, "--strategy", "head", "--max-steps", "4")
        words += ("--set", "strategy.solver=adamw")
        digits = ("--data", "embedded:digits")  # enough rows for three shards
        done = launch(processes, *words, *digits, cwd=tmp_path, FTKIT_CACHE=str(cache))
        assert done.returncode == 0, done.stderr
        (file,) = cache.glob("features/*/features.safetensors")
        assert len(list((file.parent / "shards").iterdir())) == 3
        cached.append(load_file(file)["features"])
        entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses.append([entry["loss"] for entry in entries if "loss" in entry])
    assert np.allclose(cached[0], cached[1], atol=1e-5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 4


def test_two_processes_make_one_comparison(recipe_file, tmp_path):
    words = (recipe_file, "--strategies", "majority,knn,mlp", "--out", tmp_path / "out")
    done = launch(2, *words, "--set", "train.epochs=1", cwd=tmp_path, script="compare.py")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("over knn for") == 1  # rank 0 alone speaks
    assert done.stdout.count("at n = 26") == 1
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["label"] for row in found["rows"]] == ["majority", "knn", "mlp"]
    sizes = [
        json.loads((Path(row["runs"][0]["folder"]) / "run.json").read_text())["world_size"]
        for row in found["rows"]
    ]
    assert sizes == [2, 2, 2]


def test_a_language_model_is_the_same_for_one_and_two_processes(tmp_path):
    tiny.make("llama", tmp_path / "model", tiny.CHATML, 3.0)
    pairs = [{"prompt": f"{n}?", "answer": text} for n, text in enumerate(tiny.SENTENCES * 9)]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    recipe = Recipe(
        name="tiny-talks",
        data=Data(path=str(tmp_path / "talks.jsonl")),
        backbone=Backbone(id=str(tmp_path / "model")),
        task=LanguageModelling(answers=5, max_new_tokens=4, pack=False),
        strategy=Full(learning_rate=1e-2),
        train=Train(epochs=2, batch_size=8),
    )
    (tmp_path / "mine.json").write_text(recipe.to_json())
    figures, tables = [], []
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        done = launch(processes, "--recipe", tmp_path / "mine.json", "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        metrics = json.loads((out / "run.json").read_text())["metrics"]
        figures.append([figure["value"] for figure in metrics.values()])
        tables.append(pq.read_table(out / "predictions.parquet").to_pydict())
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)
    for name in ("index", "tokens", "written"):
        assert tables[0][name] == tables[1][name]
    assert sum(text is not None for text in tables[0]["written"]) == 5


def test_the_number_of_processes_is_read_from_accelerates_command_line():
    command = ["python", "accelerate", "launch", "--cpu"]
    assert requested_processes([*command, "--num_processes", "3"]).num_processes == 3
    assert requested_processes([*command, "--num-processes=2", "x.py"]).num_processes == 2
    assert requested_processes(["bash"]).num_processes == 1


def test_the_file_for_the_cpu_starts_two_processes(recipe_file, tmp_path):
    file = ROOT / "scripts" / "accelerate" / "cpu.yaml"
    command = ["accelerate", "launch", "--config_file", file, ROOT / "scripts" / "finetune.py"]
    words = ["--recipe", recipe_file, "--out", tmp_path / "out", "--smoke"]
    ranks = {"PYTHON_EXEC": warm.executable()}
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, cwd=tmp_path, env=os.environ | ranks
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["world_size"] == 2


def test_an_error_is_said_once_by_all_processes_together(recipe_file, tmp_path):
    out = tmp_path / "out"
    words = ("--recipe", recipe_file, "--out", out, "--set", "data.path=./nowhere")
    done = launch(2, *words, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("error: data './nowhere'") == 1
    assert not out.exists()


def test_a_killed_run_goes_on_with_resume_and_finishes(recipe_file, tmp_path):
    command = ["ftkit", "train", str(recipe_file), "--out", "out", "--epochs", "40"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **quiet)
    checkpoints = tmp_path / "out" / "checkpoints"
    deadline = time.monotonic() + 300
    while len(list(checkpoints.glob("checkpoint-*/trainer_state.json"))) < 2:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "run.json").exists()

    again = warm.python(shutil.which("ftkit"), *command[1:], "--resume")
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "complete"
    entries = [
        json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    ]
    validated = [entry["epoch"] for entry in entries if "validation_loss" in entry]
    assert validated == list(range(1, 41))  # no epoch twice, none missing


def test_two_processes_make_one_sweep(recipe_file, tmp_path):
    words = (recipe_file, "--trials", "3", "--epochs", "1", "--out", "out", "--set")
    words += ("train.batch_size=7,8", "--set", "strategy.learning_rate=1e-4..1e-2[log]")
    done = launch(2, *words, cwd=tmp_path, script="sweep.py")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("trial 0: batch_size") == 1  # one asks, for all
    assert done.stdout.count("ftkit train --recipe out/trial-") == 1
    runs = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("trial-*/run.json")]
    assert {run["world_size"] for run in runs} == {2}
    failed = "failed: train.batch_size = 7: cannot be shared equally by 2 processes"
    assert len(runs) + done.stderr.count(failed) == 3
    assert failed in done.stderr
