"""Checkpoints hold what moves, and put it back."""

import copy
import errno

import checkpoints
import pytest
import torch

from ftkit import Backbone, Full, HeadOnly, ImageClassification, Lora, RunError, TrainingError
from ftkit.backbones.pretrained import load_model
from ftkit.runs.checkpoint import (
    FILE,
    SUMS,
    keep_newest,
    load_moving,
    moving_tensors,
    newest_checkpoint,
    save_moving,
    whole_checkpoint,
)
from ftkit.strategies import strategy_of
from ftkit.tasks import task_of

IMAGES = task_of(ImageClassification())


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
@pytest.mark.parametrize("strategy", [Full(), HeadOnly(), Lora(rank=2)], ids=lambda s: s.kind)
def test_every_moving_weight_and_statistic_comes_back(family, strategy, checkpoint, tmp_path):
    model, _ = load_model(Backbone(id=str(checkpoint(family))), ("a", "b", "c"), 0, task=IMAGES)
    model = strategy_of(strategy).adapt(model)
    saved = copy.deepcopy(model.state_dict())
    save_moving(moving_tensors(model), tmp_path)
    movable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    statistics = [b for name, b in model.named_buffers() if "running" in name]
    with torch.no_grad():
        for tensor in [*movable, *statistics]:
            tensor.add_(1.0)
    load_moving(model, tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[name]), name


def test_an_adapters_checkpoint_is_small(checkpoint, tmp_path):
    sizes = {}
    for strategy in (Full(), HeadOnly()):
        model, _ = load_model(
            Backbone(id=str(checkpoint("timm-vit"))), ("a", "b", "c"), 0, task=IMAGES
        )
        save_moving(moving_tensors(strategy_of(strategy).adapt(model)), tmp_path / strategy.kind)
        sizes[strategy.kind] = (tmp_path / strategy.kind / FILE).stat().st_size
    assert sizes["head"] < sizes["full"] / 100


def test_a_checkpoint_of_another_strategy_is_refused(checkpoint, tmp_path):
    model, _ = load_model(Backbone(id=str(checkpoint("vit"))), ("a", "b"), 0, task=IMAGES)
    save_moving(moving_tensors(strategy_of(HeadOnly()).adapt(model)), tmp_path)
    with pytest.raises(RunError, match="other weights"):
        load_moving(strategy_of(Full()).adapt(model), tmp_path)


def write(folder, *steps, best=None):
    for step in steps:
        with whole_checkpoint(folder / f"checkpoint-{step}", best) as unfinished:
            (unfinished / "weights").write_text(f"of step {step}")


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_text("of step 1O"), "weights is not as it was written"),
        (lambda file: file.unlink(), "weights is missing"),
        (lambda file: (file.parent / SUMS).unlink(), "checksums.json is missing"),
        (lambda file: (file.parent / SUMS).write_text("{"), "checksums.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(tmp_path, caplog, damage, said):
    write(tmp_path, 9, 10)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    damage(tmp_path / "checkpoint-10" / "weights")
    caplog.set_level("WARNING", logger="ftkit")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    (message,) = [record.getMessage() for record in caplog.records]
    assert said in message
    assert "checkpoint-10 is damaged" in message


def test_a_checkpoint_whose_best_weights_are_gone_is_not_taken(tmp_path, caplog):
    write(tmp_path, 1)
    write(tmp_path, 2)
    write(tmp_path, 3, best="checkpoint-2")
    (tmp_path / "checkpoint-2" / "weights").write_text("others")
    caplog.set_level("WARNING", logger="ftkit")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    assert "its best weights are in checkpoint-2" in caplog.text


def test_what_a_kill_leaves_half_done_is_finished_or_removed(tmp_path):
    write(tmp_path, 1, 2)
    (tmp_path / "checkpoint-2").rename(tmp_path / "checkpoint-2.part")  # killed before the renaming
    (tmp_path / "checkpoint-3.part").mkdir()  # killed while it was written
    (tmp_path / "checkpoint-3.part" / "weights").write_text("of st")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert names(tmp_path) == {"checkpoint-1", "checkpoint-2"}


def test_an_error_leaves_the_older_checkpoint_whole(tmp_path):
    write(tmp_path, 4)

    def without_room():
        with whole_checkpoint(tmp_path / "checkpoint-5") as unfinished:
            (unfinished / "weights").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TrainingError, match=r"No space left.*checkpoint-4 is whole"):
        without_room()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert names(tmp_path) == {"checkpoint-4"}


def test_the_newest_and_the_best_are_kept(tmp_path):
    write(tmp_path, 8, 9, 10, 11)
    keep_newest(tmp_path, 2, best="checkpoint-8")
    assert names(tmp_path) == {"checkpoint-8", "checkpoint-10", "checkpoint-11"}
