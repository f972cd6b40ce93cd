"""Run a saved model on images through public interfaces alone: transformers, and peft for adapters.

A script for a fresh process, which `ftkit.verify` starts; it imports nothing of ftkit, so what it
computes is what anyone who downloads the folder gets.

    python reload.py MODEL_FOLDER IMAGES_FOLDER OUTPUT.npz

OUTPUT.npz has `logits` (N, C) float32 by AutoModel, or by PeftModel where the folder holds an
adapter, and `probabilities` (N, C) by `pipeline("image-classification")`, absent for an adapter.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    pipeline,
)
from transformers.utils import logging

BATCH = 32


def main(folder: Path, images: Path, output: Path) -> None:
    """Write the answers of the model in `folder` for every PNG in `images`, in order of name."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    files = sorted(images.glob("*.png"))
    pictures = [Image.open(file) for file in files]
    adapter = (folder / "adapter_config.json").exists()
    load = load_adapter if adapter else AutoModelForImageClassification.from_pretrained
    model: Any = load(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    model.eval()
    logits = []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            batch = processor(images=pictures[start : start + BATCH], return_tensors="pt")
            logits.append(model(**batch).logits.float().numpy())
    answers = {"logits": np.concatenate(logits)}
    if not adapter:
        classify = pipeline("image-classification", model=str(folder), device="cpu")
        names = list(model.config.id2label.values())
        rows = [
            {answer["label"]: answer["score"] for answer in classify(str(file), top_k=len(names))}
            for file in files
        ]
        answers["probabilities"] = np.array([[row[name] for name in names] for row in rows])
    np.savez(output, **answers)  # type: ignore[arg-type]


def load_adapter(folder: Path) -> torch.nn.Module:
    """Return the backbone that the adapter names, with the adapter and its head on it."""
    from peft import PeftModel

    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base = AutoModelForImageClassification.from_pretrained(
        settings["base_model_name_or_path"],
        revision=settings["revision"],
        config=AutoConfig.from_pretrained(folder),
        ignore_mismatched_sizes=True,
    )
    return PeftModel.from_pretrained(base, folder)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
