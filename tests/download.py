"""A fresh process that downloads what was published and uses it, through public interfaces alone.

    python download.py ORDERS.json ANSWERS.json

ORDERS: a list of {"how": name of a function below, "model": ..., "image": ..., ...}. ANSWERS: the
list of what each gave. An empty cache and the transport are the caller's to arrange.
"""

import json
import sys
from pathlib import Path

import torch
from huggingface_hub import constants
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    pipeline,
)


def by_pipeline(model, images):
    """Return {class: probability} of each image."""
    classify = pipeline("image-classification", model=model)
    return [{a["label"]: a["score"] for a in classify(image, top_k=100)} for image in images]


def by_auto_model(model, images):
    """Return the probabilities of each image, in the order of the classes."""
    return _probabilities(AutoModelForImageClassification.from_pretrained(model), model, images)


def by_adapter(model, base, images):
    """Return the same from a backbone and the adapter in the repository."""
    from peft import PeftModel

    config = AutoConfig.from_pretrained(model)
    loaded = AutoModelForImageClassification.from_pretrained(
        base, config=config, ignore_mismatched_sizes=True
    )
    return _probabilities(
        PeftModel.from_pretrained(loaded, model, subfolder="adapter"), model, images
    )


def by_timm(model, images):
    """Return the same from timm, with the preparation that timm reads from the repository."""
    import timm

    loaded = timm.create_model(f"hf-hub:{model}", pretrained=True).eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(loaded))
    with torch.inference_mode():
        pixels = torch.stack([prepare(Image.open(image).convert("RGB")) for image in images])
        return loaded(pixels).softmax(-1).tolist()


def _probabilities(model, name, images):
    processor = AutoImageProcessor.from_pretrained(name)
    pixels = processor(images=[Image.open(i) for i in images], return_tensors="pt")
    with torch.inference_mode():
        return model.eval()(**pixels).logits.softmax(-1).tolist()


if __name__ == "__main__":
    answers = []
    for order in json.loads(Path(sys.argv[1]).read_text()):
        how, transport = order.pop("how"), order.pop("transport")
        constants.HF_HUB_DISABLE_XET = transport == "lfs"
        constants.HF_HUB_CACHE = f"{constants.HF_HOME}/{transport}"
        answers.append(globals()[how](**order))
    Path(sys.argv[2]).write_text(json.dumps(answers))
