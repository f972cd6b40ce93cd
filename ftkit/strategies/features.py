"""Frozen means fast: run the frozen backbone once, and train the head on what it gave.

A hook collects the head's inputs; the very same head module is then trained on them, so nothing
has to be copied back. The inputs go shard by shard to a file that is mapped, not read
(`ftkit.strategies.cache`), so memory stays flat, a killed run goes on where it was, and the next
run finds them there.

A file is known by everything that decides its numbers: weights and configuration of the frozen
part, precision, device, versions, and a hash of each example (`ftkit.tasks.inputs.digests`). Its
rows are ordered by that hash. So another cut of the same rows into train and validation, as another
seed makes, is served by the same file.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from ftkit.errors import TrainingError
from ftkit.errors.addresses import shown
from ftkit.machine.runtime import Machine, on_main, versions
from ftkit.recipe import HeadOnly, Recipe
from ftkit.strategies import cache
from ftkit.strategies.heads import Head, moving_names, positions_read, recorded_head_inputs
from ftkit.tasks.compact_images import as_it_is, compact
from ftkit.tasks.evaluation import collate_of, evaluation_batch, first_examples, in_batches
from ftkit.tasks.inputs import Inputs, Rows, digests, examples_of, label_at
from ftkit.training.precision import autocast, fastest_precision

log = logging.getLogger(__name__)
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
OF_THE_HEAD = {
    "id2label", "label2id", "num_labels", "num_classes", "label_names", "problem_type",
    "_name_or_path",
}  # fmt: skip
"""Settings of a model that do not touch what its head is given."""


@dataclass(frozen=True)
class Features(Dataset):
    """A split whose examples are features. The key's epoch picks one of K cached views."""

    values: torch.Tensor
    """(M, ...) all rows of the cache, mapped from its file."""
    places: np.ndarray
    """(K, N) the cached row of each example in each view."""
    labels: np.ndarray
    """(N,) class numbers."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int) -> dict[str, Any]:
        epoch, position = divmod(key, len(self))
        place = self.places[epoch % len(self.places), position]
        return {
            "features": self.values[place].float(),
            "labels": label_at(self.labels, position),
            "index": position,
        }

    def at(self, positions: np.ndarray, epoch: int = 0) -> torch.Tensor:
        """Return (B, ...) float32: the features of these examples."""
        places = self.places[epoch % len(self.places), positions]
        return self.values[torch.from_numpy(places)].float()


def cache_features(
    model: PreTrainedModel, inputs: Inputs, recipe: Recipe, machine: Machine
) -> Inputs:
    """Return the inputs with training and validation rows as features, test rows as they are.

    Runs the backbone over each row that is not cached, shared among the processes. Every rank must
    call this.

    Raises:
        RunError: the cache cannot be written.
        TrainingError: a feature is no finite number.
    """
    strategy = recipe.strategy
    assert isinstance(strategy, HeadOnly)
    views = strategy.views or 1
    training = inputs.train if strategy.views else inputs.train_plain
    wanted, places = _unique(
        [(training, epoch) for epoch in range(views)] + [(inputs.validation, 0)]
    )
    precision = fastest_precision(model, inputs, recipe.train.precision, machine)
    with autocast(precision, machine.device):
        store = _store(model, inputs, wanted, precision, machine)
    on_main(lambda: store.open({**_about(recipe, wanted, precision), "shards": store.shards}))
    missing = on_main(store.missing)
    share = missing[machine.rank :: machine.world_size]
    _fill(store, share, model, wanted, recipe, machine, precision)
    on_main(lambda: None)  # all ranks have written their shards
    if missing and not machine.is_main:  # another node's shards may be on another disk
        store.open(_about(recipe, wanted, precision))
        _fill(store, store.missing(), model, wanted, recipe, machine, precision)
    removed = on_main(lambda: cache.prune(cache.limit(), keep=store.folder))
    for entry in removed:
        log.info("features: removed %s to make room, the longest unused", entry.folder)
    with safe_open(store.file, "pt") as file:
        values = file.get_tensor("features")
    computed = sum(len(store.rows_of(shard)) for shard in missing)
    unchanged = "" if strategy.views else "; training rows without random changes"
    log.info(
        f"features: {store.rows:,} rows of {values[0].numel():,} numbers in {precision}, "
        f"{computed:,} of them computed now, in {store.folder}{unchanged}"
    )
    train = Features(values, np.stack(places[:-1]), inputs.train.labels)
    validation = Features(values, places[-1][None], inputs.validation.labels)
    return replace(inputs, train=train, train_plain=train, validation=validation, mixing=None)


def require_finite(features: torch.Tensor) -> None:
    """Raise TrainingError where a feature is NaN or infinite, as an overflow leaves it."""
    if not features.isfinite().all():
        raise TrainingError(
            "the backbone gave features that are NaN or infinite; look at the rows, or try "
            "--set train.precision=fp32"
        )


@dataclass(frozen=True)
class _Wanted(Dataset):
    """The different examples that are to be cached, ordered by what they are made of."""

    sources: tuple[Rows, ...]
    source: np.ndarray
    """(M,) which of the sources an example comes from."""
    key: np.ndarray
    """(M,) its key there."""
    digest: np.ndarray
    """(M,) what it is made of, in rising order."""

    def __len__(self) -> int:
        return len(self.key)

    @property
    def collate(self) -> Any:
        """How their examples become a batch."""
        return collate_of(self.sources[0])

    def compact(self, device: torch.device, always: bool) -> tuple[Any, Any]:
        """Return these examples as the device is sent them; see `ftkit.tasks.compact_images`.

        They are all made by one processor; where the random changes of some mirror images, the
        readers do that, so that all examples have the same parts.
        """
        parts = [compact(rows, device, always) for rows in self.sources]
        alike = {getattr(rows, "flips", None) for rows, _ in parts} == {False}
        if not alike:
            return self, as_it_is
        return replace(self, sources=tuple(rows for rows, _ in parts)), parts[0][1]

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.sources[self.source[row]][int(self.key[row])]

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return several examples, those of each source read together."""
        found: dict[int, dict[str, Any]] = {}
        chosen = np.asarray(rows)
        for number in np.unique(self.source[chosen]):
            here = chosen[self.source[chosen] == number]
            examples = examples_of(self.sources[number], self.key[here].tolist())
            found |= dict(zip(here.tolist(), examples, strict=True))
        return [found[row] for row in rows]


def _unique(parts: list[tuple[Rows, int]]) -> tuple[_Wanted, list[np.ndarray]]:
    """Return the different examples of these rows in these epochs, and where each part's are."""
    found = [digests(rows, epoch) for rows, epoch in parts]
    sizes = [len(rows) for rows, _ in parts]
    digest, first, where = np.unique(np.concatenate(found), return_index=True, return_inverse=True)
    source = np.repeat(np.arange(len(parts)), sizes)
    key = np.concatenate([epoch * len(rows) + np.arange(len(rows)) for rows, epoch in parts])
    wanted = _Wanted(tuple(rows for rows, _ in parts), source[first], key[first], digest)
    return wanted, np.split(where, np.cumsum(sizes)[:-1])


def _fill(
    store: cache.Store,
    shards: list[int],
    model: PreTrainedModel,
    wanted: _Wanted,
    recipe: Recipe,
    machine: Machine,
    precision: str,
) -> None:
    """Compute these shards of the store, one after the other. Memory holds one at a time."""
    size = evaluation_batch(recipe.train, machine)
    batches = [
        rows[start : start + size]
        for rows in map(store.rows_of, shards)
        for start in range(0, len(rows), size)
    ]
    model.eval()
    with recorded_head_inputs(model) as given:

        def features(row: dict[str, torch.Tensor]) -> torch.Tensor:
            with autocast(precision, machine.device):
                model(**row)
            values = given.pop()
            return values[:, :1] if store.shape[0] == 1 and values.ndim == 3 else values

        outputs = in_batches(features, wanted, batches, recipe.train, machine)
        for shard in shards:
            pieces: list[bytes] = []
            for _ in range(0, len(store.rows_of(shard)), size):
                values = next(outputs).contiguous().cpu()
                require_finite(values)
                pieces.append(values.view(torch.uint8).numpy().tobytes())
            store.write(shard, b"".join(pieces))


def _store(
    model: PreTrainedModel, inputs: Inputs, wanted: _Wanted, precision: str, machine: Machine
) -> cache.Store:
    """Return where the features of these examples are or will be."""
    with torch.inference_mode():
        with recorded_head_inputs(model) as given:
            model.eval()(**first_examples(inputs, 1, machine.device))
        row = positions_read(Head(model).eval(), given.pop())
    key = cache.key_of(
        {
            "format": 1,
            "model": _identity(model),
            "precision": precision,
            "device": machine.device.type,
            "versions": versions(),
            "examples": hashlib.sha256(wanted.digest.tobytes()).hexdigest(),
        }
    )
    folder = cache.features_folder() / key
    return cache.Store(folder, len(wanted), tuple(row.shape[1:]), DTYPES[row.dtype])


def _identity(model: PreTrainedModel) -> str:
    """Return a hash of the frozen part: its code, its settings, and every weight and statistic."""
    config, heads = model.config.to_dict(), moving_names(model)
    settings = {name: config[name] for name in sorted(config) if name not in OF_THE_HEAD}
    code = Path(inspect.getfile(type(model)))
    found = hashlib.sha256(f"{type(model).__name__} {heads} {settings}".encode())
    if code.exists():
        found.update(code.read_bytes())
    for name, tensor in model.state_dict().items():
        if not name.startswith(tuple(f"{head}." for head in heads)):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _about(recipe: Recipe, wanted: _Wanted, precision: str) -> dict[str, Any]:
    """Return what `ftkit cache list` says of a cache."""
    return {
        "backbone": recipe.backbone.id,
        "data": shown(recipe.data.path),
        "rows": len(wanted),
        "precision": precision,
        "versions": versions(),
    }
