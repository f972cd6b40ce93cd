"""Batches shared among processes, precision, versions."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from ftkit import RecipeError
from ftkit.machine.runtime import (
    Machine,
    choose_precision,
    commit,
    exact_float32,
    peak_memory,
    share_batch,
    versions,
)

CPU = Machine(0, 1, torch.device("cpu"), "cpu")


@pytest.mark.parametrize("batch", [1, 6, 32, 96])
@pytest.mark.parametrize("micro", [None, 1, 5, 16, 1000])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_global_batch_is_held_exactly(batch, micro, world):
    if batch % world:
        with pytest.raises(RecipeError, match=f"multiple of {world}"):
            share_batch(batch, micro, world)
        return
    rows, accumulation = share_batch(batch, micro, world)
    assert rows * accumulation * world == batch
    assert rows <= (micro or batch)


def test_auto_precision_is_fp32_on_the_cpu():
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


def test_fp16_without_a_gpu_is_refused():
    with pytest.raises(RecipeError, match="needs a GPU"):
        choose_precision("fp16", CPU)


def test_exact_float32_restores_what_was_set():
    before = torch.backends.cuda.matmul.allow_tf32
    with exact_float32():
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32 == before


def test_versions_are_those_of_the_imported_packages():
    import transformers

    found = versions()
    assert (
        found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    )
    assert found["transformers"] == transformers.__version__


def test_memory_is_measured_where_python_has_no_resource_module(monkeypatch):
    with_it = peak_memory(CPU)["host"]
    monkeypatch.setitem(sys.modules, "resource", None)  # makes its import fail, as on Windows
    without = peak_memory(CPU)["host"]
    assert without == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    assert without <= with_it * 1.01


def test_the_commit_is_that_of_the_checkout_in_use():
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        pytest.skip("this is no checkout")
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    found = commit()
    assert found is not None
    assert head.stdout.startswith(found.removesuffix("+"))
