"""Signals, as a person and Slurm send them: status 143, a checkpoint, the command to go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm

from ftkit.machine.interruption import command_to_go_on

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recipe_file(tiny_recipe, tmp_path):
    (tmp_path / "mine.json").write_text(tiny_recipe.override({"train.epochs": 500}).to_json())
    return tmp_path / "mine.json"


def start(folder, log, *words, python=()):
    """Start a long command and return its process once it has logged steps that were not there."""
    before = log.read_text() if log.exists() else ""
    command = [*python, shutil.which("ftkit"), *words]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not log.exists() or len(log.read_text()) <= len(before):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_leaves_a_checkpoint_and_the_command_to_go_on(recipe_file, tmp_path, name):
    log = tmp_path / "out" / "log.jsonl"
    process = start(tmp_path, log, "train", str(recipe_file), "--out", "out")
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 143
    *_, last = said.strip().splitlines()
    assert last.startswith(f"stopped by {name} at step ")
    command = f"ftkit train {recipe_file} --out out --resume"
    assert last.endswith(f"written; go on with: {command}")
    step = int(last.partition("at step ")[2].split()[0])
    checkpoint = tmp_path / "out" / "checkpoints" / f"checkpoint-{step}"
    assert json.loads((checkpoint / "progress.json").read_text())["step"] == step


def test_a_comparison_goes_on_with_the_run_that_a_signal_stopped(recipe_file, tmp_path):
    command = ["compare", str(recipe_file), "--strategies", "majority,full", "--out", "out"]
    majority, full = (tmp_path / f"out/tiny-colours-{kind}-seed0" for kind in ("majority", "full"))
    steps, logs, written = [], [], []
    for name in ("SIGTERM", "SIGINT"):
        process = start(tmp_path, full / "log.jsonl", *command, python=warm.python())
        process.send_signal(getattr(signal, name))
        *_, last = process.communicate(timeout=300)[1].strip().splitlines()
        assert process.returncode == 143
        assert last.endswith(f"written; go on with: ftkit {' '.join(command)}")
        steps.append(int(last.partition(f"stopped by {name} at step ")[2].split()[0]))
        assert (full / "checkpoints" / f"checkpoint-{steps[-1]}" / "progress.json").is_file()
        logs.append((full / "log.jsonl").read_text().splitlines())
        written.append((majority / "run.json").stat().st_mtime_ns)
    assert steps[0] < steps[1]
    assert logs[1][: len(logs[0])] == logs[0]  # no step is taken twice
    assert written[0] == written[1]


def test_a_second_signal_ends_the_run_at_once(tmp_path):
    script = (
        "import os, signal, time\n"
        "from ftkit.machine.interruption import held, watched\n"
        "with watched(), held():\n"
        "    for wait in (0.1, 1.2, 60):\n"  # soon after the first it would be the same signal
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('held', flush=True)\n"
        "        time.sleep(wait)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 143
    assert done.stdout.splitlines() == ["held", "held"]


def test_before_training_a_signal_ends_the_run_at_once():
    script = (
        "import os, signal\n"
        "from ftkit.machine.interruption import Interrupted, watched\n"
        "with watched():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except Interrupted as stop:\n"
        "        print(stop)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "stopped by SIGINT\n"


def test_the_command_to_go_on_is_what_was_typed_and_resume(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/ftkit", "train", "x"])
    words = ["train", "effnet-digits", "--set", "data.path=my photos"]
    assert command_to_go_on(words) == (
        "ftkit train effnet-digits --set 'data.path=my photos' --resume"
    )
    assert command_to_go_on(["train", "x", "--resume"]) == "ftkit train x --resume"
    assert command_to_go_on(["compare", "x", "y"]) == "ftkit compare x y"
    monkeypatch.setattr(sys, "argv", ["scripts/finetune.py", "--recipe", "x"])
    python = os.path.basename(sys.executable)
    assert command_to_go_on(["train", "--recipe", "x"]) == (
        f"{python} scripts/finetune.py --recipe x --resume"
    )
    monkeypatch.setattr(sys, "argv", ["scripts/compare.py", "x"])
    assert command_to_go_on(["compare", "x"]) == f"{python} scripts/compare.py x"
