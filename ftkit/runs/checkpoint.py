"""Checkpoints on disk: written whole or not at all, proven when read, the newest and the best kept.

A checkpoint is a folder, checkpoints/checkpoint-STEP. It is written under another name, brought to
the disk, given checksums.json, and renamed: a kill at any moment leaves the one before it whole.
One that does not have its checksums is reported and the one before it taken.

Of a model only what moves is written, and the buffers (BatchNorm's statistics): an adapter's
checkpoint is as small as the adapter. Trainer's own way is not used. It writes a model by
`save_pretrained`, which in transformers 5 gives the weights of ViT and others the names of older
checkpoints, and reads it by a `load_state_dict` that does not know of them: nothing is loaded, and
only a warning says so.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ftkit.errors import RunError, TrainingError
from ftkit.hub.checksums import sha256_of
from ftkit.machine.permissions import give_usual_rights

log = logging.getLogger(__name__)
FILE, STATE = "moving.safetensors", "state.pt"
SUMS = "checksums.json"
BEST = "best"
"""The key in checksums.json beside the files: the name of the checkpoint with the best weights."""
UNFINISHED = ".part"


def moving_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the trainable parameters and all buffers of `model` by name, the tensors themselves.

    One that stands in two places is there once, under the first name.
    """
    passed = {p.data_ptr() for p in model.parameters() if not p.requires_grad}
    found: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not tensor.numel() or tensor.data_ptr() not in passed:
            found[name] = tensor
            passed.add(tensor.data_ptr())
    return found


def save_moving(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Write what `moving_tensors` gave into a checkpoint's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / FILE
    )


def load_moving(model: nn.Module, folder: Path) -> None:
    """Put what `save_moving` wrote back into the same model, in place.

    Raises:
        RunError: the checkpoint is of a model in which other parameters move.
    """
    saved, wanted = load_file(folder / FILE), moving_tensors(model)
    odd = sorted(saved.keys() ^ wanted.keys()) or sorted(
        name for name in saved if saved[name].shape != wanted[name].shape
    )
    if odd:
        raise RunError(
            f"{folder} holds other weights than the model: {', '.join(odd[:3])}; resume with the "
            f"settings of that run, or give another --out"
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(saved[name])


def write_checkpoint(
    checkpoint: Path, content: dict[str, Any], texts: dict[str, str], best: str | None = None
) -> None:
    """Write a checkpoint of the weights and the state in `content`, and of texts by file name.

    Raises:
        TrainingError: see `whole_checkpoint`.
    """
    with whole_checkpoint(checkpoint, best) as folder:
        save_moving(content["weights"], folder)
        with (folder / STATE).open("wb") as file:
            torch.save(content["state"], file)
        for name, text in texts.items():
            (folder / name).write_text(text + "\n", encoding="utf-8")


@contextmanager
def whole_checkpoint(checkpoint: Path, best: str | None = None) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of `checkpoint` whole or not at all.

    Args:
        best: name of another checkpoint beside it without which this one is of no use.

    Raises:
        TrainingError: it cannot be written; what was there before is as it was.
    """
    unfinished = checkpoint.with_name(checkpoint.name + UNFINISHED)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        give_usual_rights(unfinished)
        files = sorted(path for path in unfinished.iterdir() if path.is_file())
        sums = {path.name: sha256_of(path) for path in files}
        text = json.dumps({"files": sums, BEST: best}, indent=2)
        (unfinished / SUMS).write_text(text + "\n", encoding="utf-8")
        for path in [*files, unfinished / SUMS, unfinished]:
            _to_disk(path)
        if checkpoint.exists():  # a kill from here on: `newest_checkpoint` finishes the renaming
            _discard(checkpoint)
        unfinished.rename(checkpoint)
        _to_disk(checkpoint.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if "DataLoader worker" in str(error):  # torch raises that in the middle of anything
            raise
        older = _in_order(checkpoint.parent)
        there = f"{older[-1].name} is whole" if older else "there is none before it"
        raise TrainingError(
            f"{checkpoint} cannot be written: {_reason(error)}; {there}. Make room there, then go "
            f"on by --resume"
        ) from error


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, or None. The log names damaged ones.

    Finishes or removes what a kill has left half done. Damaged ones that are newer than a whole one
    go, or they would count among the newest.
    """
    for unfinished in folder.glob(f"checkpoint-*{UNFINISHED}"):
        target = unfinished.with_name(unfinished.name.removesuffix(UNFINISHED))
        if why_damaged(unfinished) is None and not target.exists():
            unfinished.rename(target)
        else:
            shutil.rmtree(unfinished, ignore_errors=True)
    damaged: list[Path] = []
    for checkpoint in reversed(_in_order(folder)):
        damage = why_damaged(checkpoint)
        if damage is None:
            for each in damaged:
                _discard(each)
            return checkpoint
        damaged.append(checkpoint)
        log.warning("%s is damaged (%s); the one before it is taken", checkpoint, damage)
    return None


def why_damaged(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint, or with that of its best weights; or None."""
    try:
        said = json.loads((checkpoint / SUMS).read_text(encoding="utf-8"))
        for name, expected in said["files"].items():
            if sha256_of(checkpoint / name) != expected:
                return f"{name} is not as it was written"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{SUMS} cannot be read: {_reason(error)}"
    if said[BEST] is None or said[BEST] == checkpoint.name.removesuffix(UNFINISHED):
        return None
    best = checkpoint.with_name(said[BEST])
    damage = why_damaged(best)
    return damage and f"its best weights are in {best.name}: {damage}"


def keep_newest(folder: Path, count: int, best: str | None = None) -> None:
    """Remove all checkpoints except the newest so many and the one with the best weights."""
    for checkpoint in _in_order(folder)[:-count]:
        if checkpoint.name != best:
            _discard(checkpoint)


def _in_order(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder by their step, the newest last."""
    steps = {path: path.name.rpartition("-")[2] for path in folder.glob("checkpoint-*")}
    known = {path: int(step) for path, step in steps.items() if step.isdigit()}
    return sorted(known, key=known.__getitem__)


def _discard(checkpoint: Path) -> None:
    """Remove a checkpoint. A kill meanwhile leaves none that is half there."""
    removed = checkpoint.with_name(f"removed-{checkpoint.name}")
    shutil.rmtree(removed, ignore_errors=True)
    checkpoint.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Make the system write a file, or a folder's list of files, to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: BaseException) -> str:
    """Return the cause of an error in one line, in the system's own words if it has some."""
    known = error
    while getattr(known, "strerror", None) is None and known.__context__ is not None:
        known = known.__context__
    reason = getattr(known, "strerror", None) or str(error) or type(error).__name__
    number = re.search(r"\(os error (\d+)\)", reason)  # as Rust writes it
    return os.strerror(int(number[1])) if number else " ".join(reason.split())[:200]
