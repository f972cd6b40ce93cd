"""What goes wrong on real machines: each leaves one line, and the work that was done."""

import json
import os
import shutil
import subprocess

import psutil
import pytest
import torch
import warm
from conftest import leave_unverified
from safetensors.torch import load_file
from test_interruption import start

import ftkit.finetuning.finetune
from ftkit import RunError, TrainingError, finetune
from ftkit.finetuning.folder import Lock
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.training.trainer import FrozenTrainer


@pytest.fixture(autouse=True)
def _unverified(monkeypatch):
    leave_unverified(monkeypatch)


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a file system of so many KB, where the rights allow."""
    mounted = []

    def mount(size, *options):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}k", *options]), "tmpfs"]
        try:
            done = subprocess.run([*words, str(folder)], capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount here")
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def before_step(monkeypatch, step, act):
    """Do something once, before this step is taken."""
    method, done = FrozenTrainer.training_step, []

    def acting(self, *arguments):
        if self.state.global_step == step and not done:
            done.append(step)
            act(self)
        return method(self, *arguments)

    monkeypatch.setattr(FrozenTrainer, "training_step", acting)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(
    tiny_recipe, tmp_path, small_disk, monkeypatch
):
    finetune(tiny_recipe, tmp_path / "whole")
    disk = small_disk(8000)
    run, filling = disk / "run", disk / "filling"

    def fill(trainer):
        trainer.wait()
        free = shutil.disk_usage(disk).free
        filling.write_bytes(bytes(free - 20_000))  # less than a checkpoint takes

    before_step(monkeypatch, 10, fill)  # in the second epoch
    with pytest.raises(
        TrainingError, match=r"checkpoint-14 cannot be written: No space left on"
    ) as told:
        finetune(tiny_recipe, run)
    assert "checkpoint-7 is whole" in str(told.value)
    assert "\n" not in str(told.value)
    assert newest_checkpoint(run / "checkpoints") == run / "checkpoints" / "checkpoint-7"
    filling.unlink()
    finetune(tiny_recipe, run, resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(run)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_that_would_not_find_room_is_refused_before_training(tiny_recipe, small_disk):
    disk = small_disk(200)
    with pytest.raises(RunError, match=r"0 MB are free, and this run takes up to \d+ MB \(4 check"):
        finetune(tiny_recipe.override({"train.max_steps": 1}), disk / "run")
    assert not (disk / "run").exists()


def test_a_read_only_folder_is_told_in_one_line(tiny_recipe, small_disk):
    disk = small_disk(20000, "ro")
    with pytest.raises(RunError, match=r"run cannot be written: Read-only file system$"):
        finetune(tiny_recipe, disk / "run")


def test_two_runs_in_one_folder_are_one_too_many(tiny_recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def another(trainer):
        script = (
            "import sys; from pathlib import Path; from ftkit.finetuning.folder import Lock\n"
            "Lock(Path(sys.argv[1]))"
        )
        done = subprocess.run(warm.python("-c", script, str(run)), capture_output=True, text=True)
        *_, last = done.stderr.strip().splitlines()
        assert f"is in use by process {os.getpid()} on " in last

    before_step(monkeypatch, 1, another)
    finetune(tiny_recipe, run)
    Lock(run).release()  # it was let go
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["lock"]


def test_a_run_that_another_has_begun_meanwhile_is_left_alone(tiny_recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"
    require_room = ftkit.finetuning.finetune.require_room

    def while_data_is_read(folder, *rest):
        monkeypatch.setattr(ftkit.finetuning.finetune, "require_room", require_room)
        finetune(tiny_recipe, run)

    monkeypatch.setattr(ftkit.finetuning.finetune, "require_room", while_data_is_read)
    with pytest.raises(RunError, match="was taken meanwhile by another run"):
        finetune(tiny_recipe, run)
    assert json.loads((run / "run.json").read_text())["status"] == "complete"


def break_off(tiny_recipe, run, monkeypatch, step=10):
    """Leave an unfinished run."""

    def fail(trainer):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        before_step(patch, step, fail)
        with pytest.raises(ZeroDivisionError):
            finetune(tiny_recipe, run)


def test_resume_refuses_settings_that_change_the_meaning(tiny_recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"
    break_off(tiny_recipe, run, monkeypatch)
    other = tiny_recipe.override({"train.batch_size": 16, "strategy.learning_rate": 1e-3})
    said = r"strategy\.learning_rate: 5e-05 -> 0\.001, train\.batch_size: 8 -> 16\)"
    with pytest.raises(RunError, match=said):
        finetune(other, run, resume=True)
    result = finetune(other, run, resume=True, anyway=True)
    assert result.status == "complete"
    assert json.loads((run / "recipe.json").read_text())["train"]["batch_size"] == 16


def test_resume_takes_settings_that_change_nothing(tiny_recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"
    break_off(tiny_recipe, run, monkeypatch)
    same = {"train.checkpoint_every": "10min", "train.checkpoints_kept": 1, "train.workers": 1}
    assert finetune(tiny_recipe.override(same), run, resume=True).status == "complete"


def test_a_gradient_that_is_no_number_names_the_step(tiny_recipe, tmp_path, monkeypatch):
    def spoil(trainer):
        trainer.model.classifier.bias.register_hook(lambda gradient: gradient * float("inf"))

    before_step(monkeypatch, 9, spoil)
    with pytest.raises(
        TrainingError, match=r"gradient became (nan|inf) at step 10 .*rows \["
    ) as told:
        finetune(tiny_recipe, tmp_path / "run")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_row_that_cannot_be_decoded_in_epoch_3_is_named(
    tiny_recipe, class_folders, tmp_path, monkeypatch, workers
):
    data = tmp_path / "data"
    shutil.copytree(class_folders, data)
    recipe = tiny_recipe.override({"train.epochs": 4, "data.path": str(data)})
    finetune(recipe, tmp_path / "whole")
    recipe = recipe.override({"train.workers": workers})
    broken = []

    def spoil(trainer):
        rows = trainer.inputs.train.rows
        broken.append(next(row["path"] for row in rows["image"]))
        with open(broken[0], "wb") as file:
            file.write(b"this is no picture")

    before_step(monkeypatch, 13, spoil)  # the last of epoch 2: nothing of epoch 3 is read yet
    with pytest.raises(
        TrainingError, match=r"^training row 0 \(.*png\) cannot be read any more in epo"
    ) as told:
        finetune(recipe, tmp_path / "run")
    assert "in epoch 3" in str(told.value)
    assert "\n" not in str(told.value)
    shutil.copy(class_folders / broken[0].removeprefix(f"{data}/"), broken[0])
    finetune(recipe, tmp_path / "run", resume=True)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_reader_that_dies_is_told_in_one_line(tiny_recipe, tmp_path):
    recipe = tiny_recipe.override({"train.workers": 1, "train.epochs": 500})
    (tmp_path / "mine.json").write_text(recipe.to_json())
    log = tmp_path / "out" / "log.jsonl"
    process = start(tmp_path, log, "train", "mine.json", "--out", "out")
    children = psutil.Process(process.pid).children(recursive=True)
    readers = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    assert readers
    for reader in readers:
        reader.kill()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    *_, last = said.strip().splitlines()
    assert last.startswith("error: a process that reads rows ended at step ")
    assert "Traceback" not in said


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError, ConnectionRefusedError])
def test_a_reader_that_dies_while_it_hands_over_a_batch_is_told_too(
    error, tiny_recipe, tmp_path, monkeypatch
):
    def lost(*_, **__):
        raise error

    recipe = tiny_recipe.override({"train.workers": 1})
    monkeypatch.setattr(
        "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._get_data", lost
    )
    said = rf"reads rows ended at step 1: it closed its end \({error.__name__}\)\. Often memory"
    with pytest.raises(TrainingError, match=said):
        finetune(recipe, tmp_path / "run")


def test_a_clock_that_jumps_changes_neither_durations_nor_what_is_kept(
    tiny_recipe, tmp_path, monkeypatch
):
    import time

    now, jumps = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() - 1e6 * next(jumps))
    kept = set()

    def look(trainer):
        trainer.wait()
        kept.update(path.name for path in (tmp_path / "run" / "checkpoints").glob("check*"))

    before_step(monkeypatch, 22, look)
    recipe = tiny_recipe.override({"train.epochs": 4, "train.best_by": "loss"})
    result = finetune(recipe, tmp_path / "run")
    assert {"checkpoint-14", "checkpoint-21"} <= kept
    assert 0 < result.seconds.train <= result.seconds.total < 600
