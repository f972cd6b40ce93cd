"""The parts of an exported file, from the folder of a run's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel

from ftkit.backbones import family_of
from ftkit.backbones.perceptron import Trained, load_perceptron
from ftkit.backbones.pretrained import PretrainedFamily
from ftkit.data.encoders import ColumnEncoder, NgramEncoder, PixelEncoder
from ftkit.data.open_images import open_rgb
from ftkit.errors import ModelError
from ftkit.exported.about import About, Ngrams, Tells
from ftkit.exported.inputs import FEATURES, as_image
from ftkit.hub.checksums import model_checksums, sha256_of
from ftkit.machine import runtime
from ftkit.perceptron.files import load_network
from ftkit.recipe import Mlp, Recipe
from ftkit.runs.finished import RECIPE
from ftkit.shipping.body import body_of, body_of_network
from ftkit.shipping.image_graph import image_graph
from ftkit.shipping.image_steps import ImageSteps, steps_of_encoder, steps_of_processor
from ftkit.shipping.onnx_file import Parts
from ftkit.shipping.table_graph import columns_of, features_of, table_graph
from ftkit.tasks import task_of
from ftkit.tasks.image_rows import processed
from ftkit.tasks.text_rows import limit_tokens

PIXELS = "pixel_values"


@dataclass(frozen=True)
class Taken:
    """A run's model as parts of a file, and what else goes beside it."""

    parts: Parts
    steps: ImageSteps | None = None
    """Of images, what stands before the model."""
    processor: Any = None
    """Of transformers or timm; the encoder of a perceptron."""
    model: Any = None
    """Of transformers, in eval mode; the perceptron otherwise."""
    settings: Any = None
    """Of the task."""
    bytes_saved: int = 0
    """Of the weights of the saved model."""
    beside: dict[str, str] = field(default_factory=dict)
    """Texts of files that the exported file needs beside it, by name."""


def take(recipe: Recipe, model_folder: Path, label_names: tuple[str, ...]) -> Taken:
    """Return the parts of a run's model.

    Args:
        recipe: of the run, its task as it was trained.
        model_folder: model/ of the run.

    Raises:
        ModelError: the model, or what it does to its inputs, cannot be put into a file.
    """
    settings = recipe.task
    if settings.writes:
        raise ModelError(
            f"the model writes {settings.tells}s, word after word, which one pass through a file "
            f"cannot; optimum-intel exports such models with their cache: optimum-cli export "
            f"openvino -m {model_folder} DIR"
        )
    about = About(
        reads="images" if settings.noun == "images" else "text",
        tells=cast(Tells, settings.tells),
        task=settings.kind,
        classes=label_names,
        threshold=getattr(settings, "threshold", None) or 0.5,
        recipe=recipe.name,
        recipe_sha256=_recipe_sha256(model_folder),
        model_sha256=model_checksums(model_folder),
        made_by=", ".join(f"{name} {version}" for name, version in runtime.versions().items()),
    )
    weights = sum(file.stat().st_size for file in model_folder.glob("*.safetensors"))
    return replace(_taken(recipe, model_folder, about), bytes_saved=weights, settings=settings)


def _taken(recipe: Recipe, model_folder: Path, about: About) -> Taken:
    task, settings = task_of(recipe.task), recipe.task
    if isinstance(recipe.backbone, Mlp):
        return _perceptron(model_folder, settings, about)
    family = family_of(recipe.backbone)
    assert isinstance(family, PretrainedFamily)
    model, processor = family.reload(model_folder, task)
    plain: Any = model.merge_and_unload() if isinstance(model, PeftModel) else model
    plain.eval()
    if settings.noun == "images":
        return _images(plain, processor, about)
    return _texts(plain, processor, settings, about)


def _images(model: Any, processor: Any, about: About) -> Taken:
    steps = steps_of_processor(processor)
    example = torch.rand(2, 3, steps.height, steps.width)
    before = partial(image_graph, steps, PIXELS, False)
    parts = Parts(before, body_of(model, {PIXELS: example}, (0,)), about)
    return Taken(parts, steps, processor, model)


def _texts(model: Any, tokenizer: Any, settings: Any, about: About) -> Taken:
    words = settings.tells == "words"
    limit = limit_tokens(tokenizer, settings.max_length)
    if words:
        tokenizer.padding_side = "right"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"the tokenizer of this model ({type(tokenizer).__name__}) has no tokenizer.json, "
            f"which the exported file needs; give a backbone with a fast one"
        )
    paired = getattr(settings, "pair", None) is not None
    texts = [["a text", "another text of more words"], ["and", "one more of them"]]
    given = (
        tokenizer([text.split() for text in texts[0]], is_split_into_words=True, padding=True)
        if words
        else tokenizer(*texts[: 1 + paired], padding=True, truncation=True)
    )
    example = {name: torch.tensor(values) for name, values in dict(given).items()}
    backend.enable_truncation(limit, direction=tokenizer.truncation_side)
    backend.no_padding()
    about = replace(
        about,
        reads="words" if words else "text",
        pair=paired,
        max_tokens=limit,
        tokens=tuple(example),
        padding={
            "pad_id": tokenizer.pad_token_id or 0,
            "pad_type_id": tokenizer.pad_token_type_id,
            "right": tokenizer.padding_side == "right",
        },
    )
    parts = Parts(None, body_of(model, example, (0, 1)), about)
    beside = {"tokenizer.json": backend.to_str(pretty=True)}
    return Taken(parts, None, tokenizer, model, beside=beside)


def _perceptron(folder: Path, settings: Any, about: About) -> Taken:
    trained = load_perceptron(folder)
    encoder, (network, _) = trained.encoder, load_network(folder)
    body = body_of_network(network, FEATURES)
    if isinstance(encoder, PixelEncoder):
        steps = steps_of_encoder(encoder)
        before = partial(image_graph, steps, FEATURES, True)
        return Taken(Parts(before, body, about), steps, encoder, trained)
    if isinstance(encoder, NgramEncoder):
        ngrams = Ngrams(encoder.shortest, encoder.longest, encoder.buckets)
        about = replace(about, reads="ngrams", ngrams=ngrams)
        return Taken(Parts(None, body, about), None, encoder, trained)
    assert isinstance(encoder, ColumnEncoder)
    scaled = "scaled"
    about = replace(about, reads="table", columns=columns_of(settings))
    graph = table_graph(settings, encoder, scaled)
    return Taken(
        Parts(lambda _: graph, body_of_network(network, scaled), about), None, encoder, trained
    )


def ask_saved(taken: Taken) -> Callable[[Sequence[Any]], Any]:
    """Return what answers rows as people have them by the saved model itself, on the CPU."""
    about = taken.parts.about
    if isinstance(taken.model, Trained):
        as_vectors = taken.model.outputs
        if about.reads == "images":
            return lambda rows: as_vectors([open_rgb(as_image(row)) for row in rows])
        if about.reads == "table":
            settings = taken.settings
            return lambda rows: as_vectors([features_of(settings, row) for row in rows])
        return as_vectors
    model, processor = taken.model, taken.processor
    if about.reads == "images":
        model = model.to(memory_format=torch.channels_last)  # the same, and CNNs are faster

    def inputs(rows: Sequence[Any]) -> Any:
        if about.reads == "images":
            return {PIXELS: processed([open_rgb(as_image(row)) for row in rows], processor)}
        given = [list(texts) for texts in zip(*rows, strict=True)] if about.pair else [list(rows)]
        words = {"is_split_into_words": True} if about.reads == "words" else {}
        return processor(*given, padding=True, truncation=True, return_tensors="pt", **words)

    def ask(rows: Sequence[Any]) -> Any:
        with torch.inference_mode():
            return model(**inputs(rows))["logits"].numpy()

    return ask


def _recipe_sha256(model_folder: Path) -> str:
    for folder in (model_folder.parent, model_folder):
        if (folder / RECIPE).is_file():
            return sha256_of(folder / RECIPE)
    return ""
