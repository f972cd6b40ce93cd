"""Signals, as a person and Slurm send them: status 143, a checkpoint, the command to go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftkit.interruption import command_to_go_on

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recipe_file(tiny_recipe, tmp_path):
    (tmp_path / "mine.json").write_text(tiny_recipe.override({"train.epochs": 500}).to_json())
    return tmp_path / "mine.json"


def start(recipe_file, folder):
    """Start a long run and return its process once steps are taken."""
    command = ["ftkit", "train", str(recipe_file), "--out", "out"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    log, deadline = folder / "out" / "log.jsonl", time.monotonic() + 300
    while not log.exists() or not log.read_text():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_leaves_a_checkpoint_and_the_command_to_go_on(recipe_file, tmp_path, name):
    process = start(recipe_file, tmp_path)
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


def test_a_second_signal_ends_the_run_at_once(tmp_path):
    script = (
        "import os, signal, time\n"
        "from ftkit.interruption import held, watched\n"
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
        "from ftkit.interruption import Interrupted, watched\n"
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
    monkeypatch.setattr(sys, "argv", ["scripts/finetune.py", "--recipe", "x"])
    python = os.path.basename(sys.executable)
    assert command_to_go_on(["train", "--recipe", "x"]) == (
        f"{python} scripts/finetune.py --recipe x --resume"
    )
