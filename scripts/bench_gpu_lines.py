"""What each line of scripts/bench_gpu.py does, in a process of its own: rows, models, measurements.

Rows are JPEG files that are made here, models have random weights or come in a package, so that
nothing needs a network. A rate is that of the steps after the first third, which compile, fill
caches and start readers; `rows_per_second_whole` is that of everything from there to the trained
model, without validation.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import quiet
from PIL import Image

CLASSES = 10
SHARES = {"train": 1.0, "validation": 0.05, "test": 0.05}
BUSY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100")
GOAL = 0.96
"""Accuracy on CIFAR-10's validation rows until which time is counted."""


def write_rows(folder: Path, rows: int, side: int) -> None:
    """Write so many training images as JPEG files in folders of classes, and some of the others."""
    tasks = []
    for split, share in SHARES.items():
        for number in range(max(2 * CLASSES, round(share * rows))):
            place = folder / split / str(number % CLASSES)
            place.mkdir(parents=True, exist_ok=True)
            tasks.append(place / f"{number}.jpg")
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_write_image, side=side), tasks, chunksize=64))


def _write_image(file: Path, side: int) -> None:
    """Write an image whose blotches have the colour of its class, with detail as photos have it."""
    draw = np.random.default_rng(zlib.crc32(f"{file.parts[-3]} {file.stem}".encode()))
    blotches = draw.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    blotches[..., 0] = 25 * int(file.parent.name)
    image = np.asarray(Image.fromarray(blotches).resize((side, side), Image.Resampling.BICUBIC))
    noise = draw.integers(-12, 13, image.shape)
    Image.fromarray((image + noise).clip(0, 255).astype(np.uint8)).save(file, quality=90)


def write_vit(folder: Path, smoke: bool) -> None:
    """Write a ViT-B/16 with random weights, or a tiny one."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    quiet()
    tiny: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 64, "image_size": 32, "patch_size": 8}  # fmt: skip
    config = ViTConfig(**(tiny if smoke else {}))
    ViTForImageClassification(config).save_pretrained(folder)
    side = config.image_size
    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)


def recipe_of(line: Any, scratch: Path, smoke: bool) -> Any:
    """Return the recipe of a line."""
    from ftkit import Augment, Backbone, Data, ImageClassification, Recipe, Train

    effnet = Backbone(id="embedded:efficientnet-lite0", image_size=32 if smoke else 224)
    recipe = Recipe(
        name=f"{line.model}-bench",
        data=Data(path=str(scratch / "rows")),
        backbone=Backbone(id=str(scratch / "vit")) if line.model == "vit" else effnet,
        task=ImageClassification(augment=Augment(crop=(0.5, 1.0))),
        train=Train(
            epochs=1 if smoke or line.strategy == "head" else 2,
            batch_size=8 if smoke else 128,
            precision=line.precision,
            compile=line.compiled,
        ),
    ).with_strategy(line.strategy)
    return recipe.override(dict(line.changes))


def train(line: Any, scratch: Path, smoke: bool, recipe: Any = None) -> dict[str, Any]:
    """Return what training by a recipe took: rows per second, memory, how busy the device was."""
    quiet()
    import torch

    from ftkit.backbones.structure import place
    from ftkit.finetuning.finetune import make_ready
    from ftkit.machine import runtime
    from ftkit.strategies import strategy_of
    from ftkit.training.fitted import Session

    recipe = recipe or recipe_of(line, scratch, smoke)
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    recipe = ready.resolved(recipe)
    place(ready.model, recipe.train.channels_last, machine.device)
    with tempfile.TemporaryDirectory() as folder, busy_device(machine) as busy:
        begin = time.perf_counter()
        fitted = strategy_of(recipe.strategy).train(
            ready.model, ready.inputs, recipe, Session(machine, Path(folder))
        )
        seconds = time.perf_counter() - begin - fitted.validation_seconds
        log = Path(folder, "log.jsonl")
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        entries = [json.loads(entry) for entry in lines]
    rows = len(ready.inputs.train)
    found = {
        "seconds": seconds,
        "rows": rows,
        "rows_per_second_whole": fitted.examples / seconds,
        "rows_per_second": steady([e for e in entries if "loss" in e], recipe.train.rows_per_step),
        "precision": fitted.precision,
        "host_bytes": runtime.peak_memory(machine)["host"],
        "device_bytes": runtime.peak_memory(machine)["device"],
        "busy": float(np.median(busy[len(busy) // 3 :])) / 100 if len(busy) > 5 else None,
        "validation": fitted.validation,
    }
    if line.strategy == "head":
        found["rows_per_second"] = (rows + len(ready.inputs.validation)) / fitted.features_seconds
        found["forward_rows_per_second"] = forward_rate(ready, recipe, machine, smoke)
    if line.kind == "cifar10":
        found["seconds_to_goal"] = seconds_to(GOAL, entries)
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return found


def steady(entries: list[dict[str, Any]], rows_per_step: int) -> float | None:
    """Return the rows per second of the steps after the first third."""
    if len(entries) < 3:
        return None
    first, last = entries[len(entries) // 3], entries[-1]
    seconds = last["seconds"] - first["seconds"]
    return rows_per_step * (last["step"] - first["step"]) / seconds if seconds > 0 else None


def seconds_to(goal: float, entries: list[dict[str, Any]]) -> float | None:
    """Return the seconds of training after which validation reached the goal, if it did."""
    reached = [e["seconds"] for e in entries if e.get("validation_accuracy", 0.0) >= goal]
    return reached[0] if reached else None


def forward_rate(ready: Any, recipe: Any, machine: Any, smoke: bool) -> float:
    """Return the rows per second of the bare forward pass, on rows that lie on the device."""
    import torch

    from ftkit.tasks.evaluation import evaluation_batch, first_examples
    from ftkit.training.precision import autocast, fastest_precision

    precision = fastest_precision(ready.model, ready.inputs, recipe.train.precision, machine)
    size = evaluation_batch(recipe.train, machine)
    some = first_examples(ready.inputs, 1, machine.device)
    batch = {name: values.repeat_interleave(size, 0) for name, values in some.items()}
    best, model = 0.0, ready.model.eval()
    with torch.inference_mode(), autocast(precision, machine.device):
        for _ in range(3):
            passes, begin = 2 if smoke else 20, time.perf_counter()
            for _ in range(passes):
                model(**batch)
            if machine.device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, passes * size / (time.perf_counter() - begin))
    return best


def readers(line: Any, scratch: Path, smoke: bool) -> dict[str, Any]:
    """Return how many rows per second the readers give without a model."""
    quiet()
    from torch.utils.data import DataLoader

    from ftkit.finetuning.finetune import make_ready
    from ftkit.machine import runtime
    from ftkit.tasks.compact_images import compact
    from ftkit.tasks.evaluation import collate_of, workers
    from ftkit.training.batches import Batches, Keyed

    recipe = recipe_of(line, scratch, smoke)
    machine = runtime.start(0)
    rows, _ = compact(make_ready(recipe, machine).inputs.train, machine.device)
    batches = Batches(len(rows), recipe.train.rows_per_step, 0, lambda: 0)
    count = workers(recipe.train, machine)
    loader: DataLoader = DataLoader(
        Keyed(rows), batch_sampler=batches, collate_fn=collate_of(rows), num_workers=count,
        pin_memory=machine.device.type == "cuda",
    )  # fmt: skip
    begin, done = time.perf_counter(), 0
    for number, batch in enumerate(loader):
        if number == len(batches) // 3:
            begin, done = time.perf_counter(), 0
        done += len(batch["labels"])
    return {"rows_per_second": done / (time.perf_counter() - begin), "workers": count}


def limits(line: Any, scratch: Path, smoke: bool) -> dict[str, Any]:
    """Return the operations of a forward pass of one row, and the device's rates of products."""
    import bench_finetune

    return bench_finetune.limits(recipe_of(line, scratch, smoke))


def cifar10(line: Any, scratch: Path, smoke: bool, folder: str) -> dict[str, Any]:
    """Return how long EfficientNet-Lite0 takes to 96 % on CIFAR-10's validation rows."""
    recipe = recipe_of(line, scratch, smoke).override(
        {"data.path": folder, "data.validation_rows": 2000, "train.epochs": 8}
        | {"backbone.image_size": 32 if smoke else 128, "train.batch_size": 8 if smoke else 256}
        | ({"data.train_rows": 40, "data.validation_rows": 20, "data.test_rows": 20,
            "train.epochs": 1} if smoke else {})
    )  # fmt: skip
    return train(line, scratch, smoke, recipe)


KINDS = {"train": train, "readers": readers, "limits": limits, "cifar10": cifar10}


@contextmanager
def busy_device(machine: Any) -> Iterator[list[float]]:
    """Collect in the block, ten times a second, the percent of time in which this GPU computed."""
    found: list[float] = []
    if machine.device.type != "cuda":
        yield found
        return
    try:
        process = subprocess.Popen(busy_command(machine.device), stdout=subprocess.PIPE, text=True)
    except OSError:  # no driver's tool here: the figure is left out
        yield found
        return

    def read() -> None:
        assert process.stdout is not None
        for text in process.stdout:
            first = text.strip()
            if first.isdigit():
                found.append(float(first))

    threading.Thread(target=read, daemon=True).start()
    try:
        yield found
    finally:
        process.kill()
        process.wait()


def busy_command(device: Any) -> list[str]:
    """Return what asks the driver of this one device.

    By its UUID: nvidia-smi counts all devices of a machine, torch those of CUDA_VISIBLE_DEVICES.
    """
    import torch

    return [*BUSY, "-i", f"GPU-{torch.cuda.get_device_properties(device).uuid}"]
