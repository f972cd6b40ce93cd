"""Compiled training steps: the same weights to rounding, and a model that nobody else sees changed.

Most tests compile by a backend that takes down each graph and runs it as it is, which needs no C++
compiler; one goes through the real one.
"""

import copy
import os
import shutil

import pytest
import torch
from conftest import leave_unverified
from fruit_texts import make_rows, recipe_for, write
from safetensors.torch import load_file
from test_resuming import stopped
from test_training import fitted, losses

from ftkit import RecipeError, RunError, TrainingError, finetune
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.training import compiled
from ftkit.training.fitted import Session

COMPILED = {"train.compile": True}


def has_compiler():
    """Return whether inductor finds the C++ compiler that it would call."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return shutil.which(get_cpp_compiler()) is not None
    except InvalidCxxCompiler:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler is here")


@pytest.fixture
def graphs(monkeypatch):
    """The inputs of each graph that torch has made of a model; it runs as it is."""
    found = []

    def backend(graph, examples):
        if len(examples) > 1:  # not that of `require_compiler`
            found.append(examples)
        return torch._dynamo.lookup_backend("aot_eager")(graph, examples)

    monkeypatch.setattr(compiled, "BACKEND", backend)
    return found


@pytest.mark.parametrize("strategy", ["full", "lora", "lpft", "bitfit"])
def test_compiled_steps_leave_the_weights_of_ordinary_ones(
    graphs, tiny_recipe, tmp_path, strategy, caplog
):
    caplog.set_level("INFO", logger="ftkit")
    recipe = tiny_recipe.with_strategy(strategy).override({"train.gradient_checkpointing": False})
    plain, _ = fitted(recipe, tmp_path / "plain")
    assert not graphs
    ready, _ = fitted(recipe.override(COMPILED), tmp_path / "compiled")
    assert graphs
    expected, found = plain.model.state_dict(), ready.model.state_dict()
    assert list(found) == list(expected)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    copy.deepcopy(ready.model)
    assert "has no effect" not in caplog.text  # as the probe of lpft would say


def test_only_training_steps_are_compiled(graphs, tiny_recipe, tmp_path):
    ready, _ = fitted(tiny_recipe.override(COMPILED), tmp_path)
    before = len(graphs)
    batch = {"pixel_values": torch.zeros(5, 3, 32, 32)}  # 5 rows: a shape that was in no step
    ready.model(**batch)
    ready.model.eval()(**batch)
    assert len(graphs) == before


def test_checkpointed_activations_and_bfloat16_compile_too(graphs, tiny_recipe, tmp_path):
    recipe = tiny_recipe.override(
        {"train.gradient_checkpointing": True, "train.precision": "bf16", "train.epochs": 1}
    )
    fitted(recipe, tmp_path / "plain")
    fitted(recipe.override(COMPILED), tmp_path / "compiled")
    assert graphs
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)


def test_texts_of_all_lengths_have_one_graph(graphs, checkpoint, tmp_path):
    recipe = recipe_for(write(tmp_path, make_rows()), checkpoint("bert"))
    recipe = recipe.with_strategy("full").override(
        {"train.batch_size": 2, "train.epochs": 2, **COMPILED}
    )
    fitted(recipe, tmp_path / "run")
    assert any(isinstance(value, torch.SymInt) for value in graphs[0])
    assert len(graphs) <= 3  # a single row has one of its own


def test_a_head_on_features_is_not_compiled_and_says_so(graphs, tiny_recipe, tmp_path, caplog):
    caplog.set_level("INFO", logger="ftkit")
    recipe = tiny_recipe.with_strategy("head").override({"strategy.solver": "adamw", **COMPILED})
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    strategy = strategy_of(recipe.strategy)
    strategy.train(ready.model, ready.inputs, recipe, Session(machine, tmp_path))
    assert not graphs
    assert caplog.text.count("train.compile has no effect: the head trains alone") == 1


def test_gradual_unfreezing_is_not_compiled_and_says_so(graphs, tiny_recipe, tmp_path, caplog):
    caplog.set_level("INFO", logger="ftkit")
    fitted(tiny_recipe.override({"strategy.unfreeze": "gradually", **COMPILED}), tmp_path)
    assert not graphs
    assert caplog.text.count("train.compile has no effect: strategy.unfreeze") == 1


def test_a_stopped_run_goes_on_compiled(graphs, tiny_recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    finetune(tiny_recipe, tmp_path / "whole")
    stopped(tiny_recipe.override(COMPILED), tmp_path / "parts", monkeypatch, step=3)
    before = len(graphs)
    finetune(tiny_recipe.override(COMPILED), tmp_path / "parts", resume=True)
    assert len(graphs) > before
    require_close(tmp_path / "whole", tmp_path / "parts")


def test_a_run_that_began_compiled_goes_on_otherwise_only_where_that_is_asked_for(
    graphs, tiny_recipe, tmp_path, monkeypatch
):
    leave_unverified(monkeypatch)
    finetune(tiny_recipe, tmp_path / "whole")
    stopped(tiny_recipe.override(COMPILED), tmp_path / "parts", monkeypatch, step=3)
    with pytest.raises(RunError, match=r"train.compile: True -> False.*train.compile=true.*anyway"):
        finetune(tiny_recipe, tmp_path / "parts", resume=True)
    finetune(tiny_recipe, tmp_path / "parts", resume=True, anyway=True)
    require_close(tmp_path / "whole", tmp_path / "parts")


def require_close(*runs):
    """Compare the models of two runs, whose dropout is none."""
    one, other = (load_file(run / "model" / "model.safetensors") for run in runs)
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_a_model_that_cannot_be_compiled_is_told_in_one_line(tiny_recipe, tmp_path, monkeypatch):
    def refuse(graph, examples):
        if len(examples) == 1:  # the try before training
            return graph.forward
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr(compiled, "BACKEND", refuse)
    with pytest.raises(
        TrainingError, match=r"cannot be compiled, step 1: .*train.compile=false"
    ) as found:
        fitted(tiny_recipe.override(COMPILED), tmp_path)
    assert "\n" not in str(found.value)


def test_without_a_compiler_nothing_begins(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    missing = torch._inductor.config.patch("cpp.cxx", (None, str(tmp_path / "g++")))
    needed = pytest.raises(RecipeError, match=r"C\+\+ compiler.*train.compile=false")
    with missing, needed as found:
        finetune(tiny_recipe.override(COMPILED), tmp_path / "run")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run").exists()


def test_kernels_are_kept_in_the_users_own_folder_while_something_compiles(
    monkeypatch, tmp_path, tiny_recipe
):
    folder, seen = "TORCHINDUCTOR_CACHE_DIR", []
    monkeypatch.setenv(folder, "")  # so that it is put back, whether it was set or not
    monkeypatch.delenv(folder)
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))

    def backend(graph, examples):
        seen.append(os.environ.get(folder))
        return torch._dynamo.lookup_backend("aot_eager")(graph, examples)

    monkeypatch.setattr(compiled, "BACKEND", backend)
    compiled.require_compiler(runtime.start(0))
    assert len(seen) == 1
    fitted(tiny_recipe.override({"train.max_steps": 1, **COMPILED}), tmp_path / "run")
    assert len(seen) > 1
    assert set(seen) == {str(tmp_path / "compiled")}
    assert folder not in os.environ  # what others compile in this process is kept where they say


def test_a_folder_of_the_users_choice_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with compiled.own_folder():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)


@needs_compiler
def test_a_run_through_the_real_compiler_is_verified(tiny_recipe, tmp_path):
    changes = {"train.max_steps": 3, "train.batch_size": 16, "task.augment.crop": None}
    plain = finetune(tiny_recipe.override(changes), tmp_path / "plain")
    result = finetune(tiny_recipe.override(changes | COMPILED), tmp_path / "compiled")
    assert result.validation["loss"] == pytest.approx(plain.validation["loss"], rel=1e-2)
    weights = [
        load_file(tmp_path / run / "model" / "model.safetensors") for run in ("plain", "compiled")
    ]
    assert list(weights[0]) == list(weights[1])
