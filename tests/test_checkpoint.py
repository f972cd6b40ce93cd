"""Checkpoints hold what moves, and put it back."""

import copy

import checkpoints
import pytest
import torch

from ftkit import Backbone, Full, HeadOnly, Lora
from ftkit.adapt import adapt
from ftkit.checkpoint import FILE, load_moving, newest_checkpoint, save_moving
from ftkit.models import load_model


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
@pytest.mark.parametrize("strategy", [Full(), HeadOnly(), Lora(rank=2)], ids=lambda s: s.kind)
def test_every_moving_weight_and_statistic_comes_back(family, strategy, checkpoint, tmp_path):
    model, _ = load_model(Backbone(id=str(checkpoint(family))), ("a", "b", "c"), 0)
    model = adapt(strategy, model)
    saved = copy.deepcopy(model.state_dict())
    save_moving(model, tmp_path)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    statistics = [b for name, b in model.named_buffers() if "running" in name]
    with torch.no_grad():
        for tensor in [*moving, *statistics]:
            tensor.add_(1.0)
    load_moving(model, tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[name]), name


def test_an_adapters_checkpoint_is_small(checkpoint, tmp_path):
    sizes = {}
    for strategy in (Full(), HeadOnly()):
        model, _ = load_model(Backbone(id=str(checkpoint("timm-vit"))), ("a", "b", "c"), 0)
        save_moving(adapt(strategy, model), tmp_path / strategy.kind)
        sizes[strategy.kind] = (tmp_path / strategy.kind / FILE).stat().st_size
    assert sizes["head"] < sizes["full"] / 100


def test_a_checkpoint_of_another_strategy_is_refused(checkpoint, tmp_path):
    model, _ = load_model(Backbone(id=str(checkpoint("vit"))), ("a", "b", "c"), 0)
    save_moving(adapt(HeadOnly(), model), tmp_path)
    with pytest.raises(KeyError, match="other weights"):
        load_moving(adapt(Full(), model), tmp_path)


def test_a_checkpoint_cut_off_while_written_is_passed_over(tmp_path):
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text("{}")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert not (tmp_path / "checkpoint-10").exists()
