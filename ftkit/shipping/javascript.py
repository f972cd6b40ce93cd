"""The layout that transformers.js loads, for architectures that it knows.

transformers.js reads a folder as it lies on the Hub: config.json, what prepares the inputs, and the
graph as onnx/model.onnx. Of texts this graph is the exported file itself, which then lies there
alone. Of images transformers.js would resize by filters of its own (the browser's canvas, or sharp
without smoothing in Node), and models have been seen to answer otherwise; so its graph resizes by
itself, as Pillow does, and preprocessor_config.json asks for the plain levels of all pixels.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from onnx import compose, helper

from ftkit.exported.inputs import IMAGE
from ftkit.exported.model import MODEL_IN_FOLDER
from ftkit.shipping import onnx_file
from ftkit.shipping.onnx_graph import FLOAT, UINT8, OnnxGraph, value
from ftkit.shipping.parts import PIXELS, Taken

log = logging.getLogger(__name__)
VERSION = "4.3.2"
"""Of the npm package @huggingface/transformers, from whose src/models/registry.js the names are."""
BY_TASK: dict[str, frozenset[str]] = {
    "images": frozenset(
        {
            "beit", "convnext", "convnextv2", "deit", "dinov2", "dinov2_with_registers",
            "efficientnet", "fastvit", "hiera", "ijepa", "mobilenet_v1", "mobilenet_v2",
            "mobilenet_v3", "mobilenet_v4", "mobilevit", "mobilevitv2", "pvt", "resnet",
            "segformer", "swin", "vit", "vit_msn"
        }
    ),
    "text": frozenset(
        {
            "albert", "bart", "bert", "camembert", "convbert", "deberta", "deberta-v2",
            "distilbert", "electra", "esm", "eurobert", "mbart", "mobilebert", "modernbert",
            "mpnet", "neobert", "roberta", "roformer", "squeezebert", "xlm", "xlm-roberta"
        }
    ),
    "words": frozenset(
        {
            "bert", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra",
            "esm", "eurobert", "modernbert", "mpnet", "neobert", "openai_privacy_filter",
            "roberta", "roformer", "xlm", "xlm-roberta"
        }
    ),
}  # fmt: skip
"""What a row is, and the `model_type` of the models that transformers.js classifies it by."""
LEVELS = {
    "image_processor_type": "ViTImageProcessor",
    "do_convert_rgb": True,
    "do_resize": False,
    "do_rescale": False,
    "do_normalize": False,
}
"""preprocessor_config.json of an image whose levels go into the graph as they are."""
DTYPE = {"dtype": "fp32"}
"""Which file is loaded: model.onnx, where transformers.js takes others by itself in a browser."""


def is_known(taken: Taken) -> bool:
    """Return whether transformers.js has a class for this model."""
    config = getattr(taken.model, "config", None)
    return getattr(config, "model_type", None) in BY_TASK.get(taken.parts.about.reads, ())


def lay_out(file: Path, taken: Taken) -> Path:
    """Give the folder of an exported file the layout of transformers.js; return where the file is.

    For a model that it does not know, the file stays where it is.

    Args:
        file: a file of ONNX, with its tokenizer.json beside it.
    """
    texts = taken.parts.about.reads in ("text", "words")
    if texts:
        _write(file.parent, {"tokenizer_config.json": _tokenizer_config(taken)})
    if not is_known(taken):
        return file
    config = {**taken.model.config.to_dict(), "transformers.js_config": DTYPE}
    config.pop("_name_or_path", None)  # a folder of this machine
    _write(file.parent, {"config.json": json.loads(json.dumps(config, default=str))})
    graph = file.parent / MODEL_IN_FOLDER
    graph.parent.mkdir(exist_ok=True)
    if texts:
        return file.replace(graph)
    _write(file.parent, {"preprocessor_config.json": LEVELS})
    onnx_file.write(of_levels(onnx.load(str(file))), graph)
    size = graph.stat().st_size / 1e6
    log.info(f"{MODEL_IN_FOLDER} is the same for transformers.js, of {size:,.1f} MB")
    return file


def _tokenizer_config(taken: Taken) -> dict[str, Any]:
    """Return tokenizer_config.json with the length at which training cut texts off."""
    with tempfile.TemporaryDirectory() as scratch:
        taken.processor.save_pretrained(scratch)
        text = (Path(scratch) / "tokenizer_config.json").read_text(encoding="utf-8")
    values: dict[str, Any] = json.loads(text)
    return {**values, "model_max_length": taken.parts.about.max_tokens}


def _write(folder: Path, files: dict[str, Any]) -> None:
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def of_levels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph of images with `pixel_values` (B, 3, H, W) float32, 0 to 255, as input."""
    graph = OnnxGraph("levels/")
    turned = graph.op("Transpose", PIXELS, perm=[0, 2, 3, 1])
    graph.named(graph.cast(turned, UINT8), "levels")
    front = graph.model(
        [value(PIXELS, FLOAT, "batch", 3, "height", "width")],
        [value("levels", UINT8, "batch", "height", "width", 3)],
    )
    own = onnx.ModelProto()
    own.CopyFrom(model)
    _rename(own.graph.node, PIXELS, "normalised")
    found = compose.merge_models(front, own, io_map=[("levels", IMAGE)])
    del found.metadata_props[:]
    helper.set_model_props(found, {one.key: one.value for one in model.metadata_props})
    found.producer_name = "ftkit"
    onnx.checker.check_model(found)
    return found


def _rename(nodes: Iterable[Any], old: str, new: str) -> None:
    """Give a value of a graph another name, in branches too."""
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
        for attribute in node.attribute:
            _rename(attribute.g.node, old, new)
