"""LoRA's variants: what is saved gives the logits of training, by peft alone and merged."""

import copy
import itertools
import shutil

import pytest
import torch
from peft import PeftModel
from test_strategies import load, pixels_for, take_steps
from test_training import fitted, losses

from ftkit import Lora, RecipeError, TextClassification, finetune, registry
from ftkit.backbones import family_of
from ftkit.backbones.pretrained import load_model
from ftkit.backbones.structure import place
from ftkit.recipe import Backbone
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.strategies import strategy_of
from ftkit.strategies.pissa import for_original_backbone
from ftkit.tasks import task_of
from ftkit.training.optimiser import parameter_groups

VARIANTS = {
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "pissa": {"init": "pissa"},
    "pissa-rslora": {"init": "pissa", "rslora": True},
}


class Silent:
    """A processor that there is none of."""

    def save_pretrained(self, folder):
        pass


def save(model, recipe, folder):
    adapter = strategy_of(recipe.strategy).for_saving
    family_of(recipe.backbone).save(model, Silent(), recipe, folder, adapter)


def logits(model, family_pixels):
    with torch.inference_mode():
        return model.eval()(pixel_values=family_pixels).logits


@pytest.mark.parametrize(
    ("variant", "family"),
    [
        *itertools.product(VARIANTS, ("vit", "resnet")),
        ("pissa", "timm-resnet"),
        ("dora", "convnext"),
    ],
)
def test_adapter_and_merged_model_give_the_logits_of_training(
    variant, family, checkpoint, tmp_path, tiny_recipe
):
    strategy = Lora(rank=3, **VARIANTS[variant])
    model = take_steps(strategy_of(strategy).adapt(load(family, checkpoint)), 2)
    pixels = pixels_for(model)
    expected = logits(model, pixels)
    save(model, tiny_recipe.override({"strategy": strategy}), tmp_path)
    untrained = logits(load(family, checkpoint), pixels)
    assert (expected - untrained).abs().max() > 1e-3
    again = PeftModel.from_pretrained(load(family, checkpoint), tmp_path / "adapter")
    assert torch.allclose(logits(again, pixels), expected, atol=1e-4)
    merged = type(load(family, checkpoint)).from_pretrained(tmp_path)
    assert torch.allclose(logits(merged, pixels), expected, atol=1e-4)
    assert torch.equal(logits(model, pixels), expected)  # it is left as it was


@pytest.mark.parametrize("family", ["vit", "resnet", "timm-resnet"])
def test_pissa_changes_nothing_at_first_and_begins_with_the_largest_part(family, checkpoint):
    original = load(family, checkpoint)
    model = strategy_of(Lora(rank=2, init="pissa")).adapt(copy.deepcopy(original))
    pixels = pixels_for(original)
    assert torch.allclose(logits(model, pixels), logits(original, pixels), atol=1e-4)
    name = next(n for n, m in model.named_modules() if hasattr(m, "principal_A"))
    layer = model.get_submodule(name)
    weight = original.get_submodule(name.removeprefix("base_model.model.")).weight.flatten(1)
    rest = layer.get_base_layer().weight.flatten(1)
    values = torch.linalg.svdvals(weight)
    # what is left of a matrix without its largest part: Eckart and Young 1936
    assert torch.allclose(rest.norm() ** 2, values[2:].square().sum(), rtol=1e-3)


def test_pissa_is_a_plain_lora_of_twice_the_rank(checkpoint):
    model = take_steps(strategy_of(Lora(rank=2, init="pissa")).adapt(load("vit", checkpoint)))
    plain = for_original_backbone(model)
    assert plain.peft_config["default"].r == 4
    assert plain.peft_config["default"].init_lora_weights is True
    base = load("vit", checkpoint).state_dict()
    for name, tensor in plain.get_base_model().state_dict().items():
        if name.replace(".base_layer", "") in base and "lora" not in name:
            assert torch.allclose(tensor, base[name.replace(".base_layer", "")], atol=1e-6), name


@pytest.mark.parametrize("variant", ["dora", "pissa"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_variant_on_texts_is_verified_by_the_run(variant, family, checkpoint, tmp_path):
    names = ("a", "b")
    model, _ = load_model(
        Backbone(id=str(checkpoint(family))), names, 0, task_of(TextClassification())
    )
    strategy = Lora(rank=2, **VARIANTS[variant])
    model = strategy_of(strategy).adapt(model)
    words = {"input_ids": torch.arange(4, 20).reshape(2, 8), "attention_mask": torch.ones(2, 8)}
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=0.1)
    for _ in range(2):
        model(**words).logits[:, 0].sum().backward()
        optimizer.step()
    model.eval()
    recipe = registry.find("distilbert-sst2").override({"strategy": strategy})
    save(model, recipe, tmp_path)
    again, _ = load_model(
        Backbone(id=str(checkpoint(family))), names, 0, task_of(TextClassification())
    )
    again = PeftModel.from_pretrained(again, tmp_path / "adapter").eval()
    merged = type(model.get_base_model()).from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        expected = model(**words).logits
        assert torch.allclose(again(**words).logits, expected, atol=1e-4)
        assert torch.allclose(merged(**words).logits, expected, atol=1e-4)


def test_a_whole_run_by_pissa_is_verified(tiny_recipe, tmp_path):
    strategy = Lora(rank=2, init="pissa", learning_rate=1e-3, lora_plus=16)
    recipe = tiny_recipe.override({"strategy": strategy, "train.max_steps": 3})
    result = finetune(recipe, tmp_path / "out")  # loads both artefacts in fresh processes
    assert result.strategy["init"] == "pissa"


@pytest.mark.parametrize("merge", [True, False])
def test_a_whole_run_by_dora_on_a_cnn_is_verified(merge, tiny_recipe, checkpoint, tmp_path):
    """The fresh process computes CNNs in channels last, of which DoRA's kernels take no views."""
    changes = {"backbone.id": str(checkpoint("resnet")), "train.max_steps": 3}
    strategy = Lora(rank=2, dora=True, learning_rate=1e-3, merge=merge)
    recipe = tiny_recipe.override({"strategy": strategy, **changes})
    assert finetune(recipe, tmp_path / "out").n > 0


def test_pissa_resumes(tiny_recipe, tmp_path):
    strategy = Lora(rank=2, init="pissa", learning_rate=1e-3)
    before, after = cut_after_an_epoch(tiny_recipe.override({"strategy": strategy}), tmp_path)
    assert after == before


def cut_after_an_epoch(recipe, folder):
    """Train, take the last checkpoint away as a kill would, go on; return the losses of both."""
    fitted(recipe, folder)
    before = losses(folder)
    shutil.rmtree(newest_checkpoint(folder / "checkpoints"))
    fitted(recipe, folder, resume=True)
    return before, losses(folder)


def test_lora_plus_multiplies_the_rate_of_b_alone(checkpoint):
    strategy = Lora(learning_rate=1e-3, lora_plus=16)
    model = strategy_of(strategy).adapt(load("vit", checkpoint))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(strategy_of(strategy), model, 1e-3, 0.01, names.values())
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert all(
        rate == pytest.approx(0.016 if "lora_B" in n else 0.001) for n, rate in rates.items()
    )
    assert set(rates) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert groups[0]["lr"] == 1e-3


def test_dora_trains_convolutions_in_channels_last(checkpoint):
    model = strategy_of(Lora(rank=2, dora=True)).adapt(load("resnet", checkpoint))
    place(model, True, torch.device("cpu"))
    kernels = [p for n, p in model.named_parameters() if "base_layer" in n and p.ndim == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    before = logits(model, pixels_for(model))
    assert not torch.equal(logits(take_steps(model, 2), pixels_for(model)), before)


def test_dora_and_pissa_together_are_refused():
    with pytest.raises(RecipeError, match="choose one"):
        Lora(dora=True, init="pissa")
