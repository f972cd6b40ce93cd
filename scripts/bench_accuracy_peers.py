"""What another tool answers for one draw of rows; scripts/bench_accuracy.py calls it.

    PYTHON scripts/bench_accuracy_peers.py TOOL --rows FOLDER --backbone FOLDER --out FILE

PYTHON is that of the environment that scripts/peers.sh makes; nothing of ftkit is imported. FOLDER
holds train.parquet and test.parquet, of which the labels of test rows are not read. FILE gets the
class of each test row and what was done, as JSON. Each tool is used as its own documentation shows
it. One whose own settings would take more than --seconds takes fewer steps or epochs; the trial
that finds out how many there is time for is not counted.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

TEXTS, IMAGES = ("text", "sentence"), ("img", "image")
TRIED = 4
"""So many steps of SetFit are timed, on a copy of the model, to know how many there is time for."""
SHARE = 0.9
"""The part of the seconds that steps are planned for; the rest is for what one cannot foresee."""
EPOCHS = 20
"""fastai's fine_tune takes so many epochs where there is time for them."""
FEW = 640
"""fastai's batch has 16 images where there are fewer rows, so that an epoch has several steps."""


class Clock:
    """The seconds that a tool has taken, without those in which its speed was tried."""

    def __init__(self, allowed: float) -> None:
        self.allowed, self._begin = allowed, time.perf_counter()

    @property
    def spent(self) -> float:
        """The seconds taken so far."""
        return time.perf_counter() - self._begin

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.allowed - self.spent

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave what is done meanwhile out."""
        before = self.spent
        yield
        self._begin = time.perf_counter() - before


Answer = tuple[np.ndarray, str]
"""(N,) the class of each test row, and what was done in a few words."""


def main() -> None:
    """Write what the tool answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=list(TOOLS))
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=180, help="of the whole command")
    parser.add_argument("--image-size", type=int, default=64)
    asked = parser.parse_args()
    clock = Clock(asked.seconds)
    answers, told = TOOLS[asked.tool](asked, clock)
    found = {
        "answers": [int(value) for value in answers],
        "told": told,
        "seconds": round(clock.spent, 1),
    }
    asked.out.write_text(json.dumps(found), encoding="utf-8")


def rows_of(asked: argparse.Namespace) -> tuple[list[Any], np.ndarray, list[Any]]:
    """Return the training rows, their labels (N,) and the test rows; an image is its bytes."""
    train, test = (
        pyarrow.parquet.read_table(asked.rows / f"{split}.parquet") for split in ("train", "test")
    )
    column = next(name for name in train.column_names if name in (*TEXTS, *IMAGES))
    inputs, others = train.column(column).to_pylist(), test.column(column).to_pylist()
    if column in IMAGES:
        inputs, others = [row["bytes"] for row in inputs], [row["bytes"] for row in others]
    return inputs, train.column("label").to_numpy(), others


def probe(asked: argparse.Namespace, clock: Clock) -> Answer:
    """scikit-learn's logistic regression on what the frozen backbone gives, standardised."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs, labels, others = rows_of(asked)
    embed = image_features if isinstance(inputs[0], bytes) else text_features
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(embed(asked, inputs), labels)
    return head.predict(embed(asked, others)), "C=1"


def text_features(asked: argparse.Namespace, texts: list[str]) -> np.ndarray:
    """Return (N, D) the embeddings of a sentence encoder."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(asked.backbone), device="cpu").encode(texts)


def image_features(asked: argparse.Namespace, images: list[bytes]) -> np.ndarray:
    """Return (N, D) the pooled features of the CNN, of images resized as it was pretrained."""
    import timm
    import torch
    from PIL import Image

    model = timm.create_model(
        "tf_efficientnet_lite0",
        pretrained=True,
        num_classes=0,
        pretrained_cfg_overlay={"file": str(asked.backbone / "model.safetensors")},
    ).eval()
    size, found = (3, asked.image_size, asked.image_size), []
    change = timm.data.create_transform(
        size, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0
    )
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            some = (Image.open(io.BytesIO(raw)).convert("RGB") for raw in images[start:][:64])
            found.append(model(torch.stack([change(image) for image in some])).numpy())
    return np.concatenate(found)


def setfit(asked: argparse.Namespace, clock: Clock) -> Answer:
    """SetFit with its defaults: one epoch of pairs, then its logistic regression."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from transformers import TrainerCallback

    class Ends(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    inputs, labels, others = rows_of(asked)
    rows = Dataset.from_dict({"text": inputs, "label": labels.tolist()})

    def trained(steps: int, folder: str) -> tuple[Any, list[float]]:
        model = SetFitModel.from_pretrained(str(asked.backbone), device="cpu")
        how = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            seed=asked.seed,
            report_to="none",
            save_strategy="no",
        )
        steps_done = Ends()
        trainer = Trainer(model, args=how, train_dataset=rows, callbacks=[steps_done])
        if steps == TRIED:  # the encoder alone, since the head is not timed
            trainer.train_embeddings(inputs, labels.tolist(), args=how)
        else:
            trainer.train()
        return model, steps_done.ends

    with tempfile.TemporaryDirectory() as folder:
        with clock.stopped():
            model, ends = trained(TRIED, folder)
            step = statistics.mean(np.diff(ends))
            begin = time.perf_counter()
            model.encode([*inputs, *others][-128:])
            rest = (time.perf_counter() - begin) / 128 * (len(inputs) + len(others))
        most = max(TRIED + 1, int((SHARE * clock.left - rest) / step))
        whole = steps_of_an_epoch(labels)
        model, ends = trained(most if most < whole else -1, folder)
    return np.asarray(model.predict(others)), f"{len(ends)} of {whole} steps"


def steps_of_an_epoch(labels: np.ndarray, batch_size: int = 16) -> int:
    """Return how many batches of SetFit's default sampling are one epoch.

    A row makes a pair with every row, itself too. Of pairs of one class and pairs of two, the fewer
    are repeated until there are as many as of the others. They are counted and not made, since
    there may be billions.
    """
    counts = np.unique(labels, return_counts=True)[1]
    same = int((counts * (counts + 1) // 2).sum())
    others = int((counts.sum() ** 2 - (counts**2).sum()) // 2)
    return -(-2 * max(same, others) // batch_size)


def fastai(asked: argparse.Namespace, clock: Clock) -> Answer:
    """fastai's vision_learner and fine_tune, with its usual random changes of images."""
    from fastai.vision import all as vision

    inputs, labels, others = rows_of(asked)
    vision.set_seed(asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / f"{number}.jpg" for number in range(len(inputs) + len(others))]
        for file, raw in zip(files, [*inputs, *others], strict=True):
            file.write_bytes(raw)
        train, test = files[: len(inputs)], files[len(inputs) :]
        names = [str(label) for label in labels]
        data = vision.ImageDataLoaders.from_lists(
            scratch,
            train,
            names,
            valid_pct=0,
            bs=16 if len(train) < FEW else 64,
            item_tfms=vision.Resize(asked.image_size),
            batch_tfms=vision.aug_transforms(),
            num_workers=0,
        )
        learner = learner_of(asked, data)
        with clock.stopped(), learner.no_bar(), learner.no_logging():
            begin = time.perf_counter()
            learner.fine_tune(1)  # an epoch of the head and one of everything
            epoch = (time.perf_counter() - begin) / 2
        epochs = max(1, min(EPOCHS, int(SHARE * clock.left / epoch) - 1))
        vision.set_seed(asked.seed)
        learner = learner_of(asked, data)
        with learner.no_bar(), learner.no_logging():
            learner.fine_tune(epochs)
            scores, _ = learner.get_preds(dl=data.test_dl(test))
        classes = [int(name) for name in data.vocab]
    return np.array(classes)[scores.numpy().argmax(1)], f"fine_tune({epochs})"


def learner_of(asked: argparse.Namespace, data: Any) -> Any:
    """Return fastai's learner of the backbone with its pretrained weights, from this disk."""
    from fastai.vision.learner import vision_learner

    weights = {"file": str(asked.backbone / "model.safetensors")}
    return vision_learner(data, "tf_efficientnet_lite0", pretrained_cfg_overlay=weights)


TOOLS: dict[str, Callable[[argparse.Namespace, Clock], Answer]] = {
    "probe": probe,
    "setfit": setfit,
    "fastai": fastai,
}

if __name__ == "__main__":
    main()
