"""What the benchmarks of training share: the contenders, a process for each, and the record.

Every contender gets the same rows through the same processor, the same model with the same new
head, the same epochs, batch size and seed, and no random changes to images. The clock runs from
there to the trained model. Validation is not counted for any, and the stock Trainer makes none.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

PLAIN = {"task.augment.crop": None, "task.augment.flip": False, "task.augment.randaugment": 0}


def recipe_of(options: Any, strategy: str) -> Any:
    """Return the recipe with what the command line changes, without random changes to images."""
    from ftkit import registry

    recipe = registry.find(options.recipe).with_strategy(strategy)
    plain = PLAIN if hasattr(recipe.task, "augment") else {}
    changes = {**plain, "train.epochs": options.epochs, "train.seed": options.seed}
    for field, value in (("data.train_rows", options.rows), ("data.path", options.data)):
        changes |= {field: value} if value else {}
    if strategy == "full":
        changes["strategy.keep_statistics"] = False  # as the others do
    changes |= {
        field: json.loads(value) for field, _, value in (s.partition("=") for s in options.set)
    }
    return recipe.override(changes)


def stock(recipe: Any, ready: Any, machine: Any, folder: Path) -> tuple[float, str]:
    """Train with transformers' Trainer as it comes: its defaults, frozen by requires_grad."""
    from transformers import Trainer, TrainingArguments

    from ftkit.tasks.evaluation import collate_of

    collate = collate_of(ready.inputs.train_plain)

    def collated(examples: list[dict]) -> dict:
        return {name: value for name, value in collate(examples).items() if name != "index"}

    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.train.epochs,
        per_device_train_batch_size=recipe.train.rows_per_step,
        learning_rate=recipe.strategy.learning_rate,
        seed=recipe.train.seed,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
    )
    rows = ready.inputs.train_plain
    trainer = Trainer(model=ready.model, args=arguments, train_dataset=rows, data_collator=collated)
    begin = time.perf_counter()
    trainer.train()
    return time.perf_counter() - begin, "bf16" if arguments.bf16 else "fp32"


def ftkit(recipe: Any, ready: Any, machine: Any, folder: Path) -> tuple[float, str]:
    """Train as ftkit does."""
    from ftkit.backbones.structure import place
    from ftkit.strategies import strategy_of
    from ftkit.training.fitted import Session

    begin = time.perf_counter()
    place(ready.model, recipe.train.channels_last, machine.device)
    fitted = strategy_of(recipe.strategy).train(
        ready.model, ready.inputs, recipe, Session(machine, folder)
    )
    seconds = time.perf_counter() - begin - fitted.validation_seconds
    return seconds, fitted.precision


def bare(recipe: Any, ready: Any, machine: Any, folder: Path) -> tuple[float, str]:
    """Train with ftkit's settings in a plain loop of PyTorch."""
    import torch

    from ftkit.backbones.structure import place
    from ftkit.tasks.evaluation import collate_of, lengths_of
    from ftkit.tasks.inputs import examples_of
    from ftkit.training.batches import Batches
    from ftkit.training.modes import training_modes
    from ftkit.training.precision import autocast, fastest_training

    begin = time.perf_counter()
    model, rows, settings = ready.model, ready.inputs.train_plain, recipe.train
    size = settings.rows_per_step
    way = fastest_training(model, ready.inputs, settings, machine)
    place(model, way.channels_last, machine.device)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=recipe.strategy.learning_rate, fused=True)
    for module, moves in training_modes(model):
        module.training = moves
    for epoch in range(settings.epochs):
        now = partial(int, epoch)
        batches = Batches(len(rows), size, settings.seed, now, lengths=lengths_of(rows))
        for keys in batches:
            batch = collate_of(rows)(examples_of(rows, keys))
            labels = batch.pop("labels").to(machine.device)
            del batch["index"]
            with autocast(way.precision, machine.device):
                outputs = model(**{name: v.to(machine.device) for name, v in batch.items()})
            loss = torch.nn.functional.cross_entropy(outputs.logits.float(), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(moving, settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, way.precision


CONTENDERS: dict[str, Callable[..., tuple[float, str]]] = {
    "stock": stock,
    "ftkit": ftkit,
    "bare": bare,
}


def work(name: str, recipe: Any) -> dict[str, Any]:
    """Return what one contender took and reached; runs in a process of its own."""
    quiet()
    from ftkit.finetuning.finetune import make_ready
    from ftkit.machine import runtime
    from ftkit.tasks.evaluation import predict_logits

    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    before = runtime.peak_memory(machine)["host"]
    with tempfile.TemporaryDirectory() as folder:
        thread = time.thread_time()
        seconds, precision = CONTENDERS[name](recipe, ready, machine, Path(folder))
        thread = time.thread_time() - thread
    peak = runtime.peak_memory(machine)
    rows = ready.inputs.test
    right = predict_logits(ready.model, rows, recipe.train, machine).argmax(1) == rows.labels
    examples = recipe.train.epochs * len(ready.inputs.train)
    return {
        "seconds": seconds,
        "thread_seconds": thread,
        "examples_per_second": examples / seconds,
        "host_bytes": peak["host"],
        "host_bytes_in_training": peak["host"] - before,
        "device_bytes": peak["device"],
        "accuracy": float(np.mean(right)),
        "precision": precision,
        "cached": getattr(recipe.strategy, "cache", False),
        "machine": machine.device_name,
    }


def run_worker(words: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run the script that was started again with these words, and return what it says."""
    command = [sys.executable, *sys.argv, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def record(options: Any, found: dict[str, Any]) -> None:
    """Print what the figures stand on, and write all as JSON where asked for."""
    from ftkit.machine import runtime

    versions = runtime.versions()
    about = {
        "command": " ".join(["python", *sys.argv]),
        "commit": runtime.commit(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
    }
    print(f"\n{about['command']}\ncommit {about['commit']}, {about['cores']} cores")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    if options.json:
        Path(options.json).write_text(json.dumps(about | found, indent=2) + "\n", encoding="utf-8")


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """Have so many processes beside this one that count without an end."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.callback(subprocess.Popen([sys.executable, "-c", "while True: pass"]).kill)
        yield


def quiet() -> None:
    """Keep the libraries to errors."""
    import datasets
    import transformers

    logging.getLogger().setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
