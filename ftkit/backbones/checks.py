"""Does a backbone fit? What is looked at before, while and after it is loaded.

Each of these refuses with a message that names the backbone and says what to do instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TimmWrapperConfig

from ftkit.errors import ModelError
from ftkit.recipe import Backbone


def check_weights(name: str, backbone: Backbone) -> None:
    """Refuse a folder without weights, or with pickled ones, before anything is loaded."""
    folder = Path(name)
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"backbone '{backbone.id}' is an adapter, not a whole model; give the merged model, or "
            f"the one that the adapter was made for"
        )
    if backbone.allow_pickle or any(folder.glob("*.safetensors")):
        return
    raise ModelError(
        f"backbone '{backbone.id}': there are no safetensors weights in it; pickled ones "
        f"can run code, load them with --set backbone.allow_pickle=true if you trust their author"
    )


def check_kind(name: str, backbone: Backbone, config: Any, task: Any, known: Any) -> None:
    """Refuse what cannot do the task, and a local folder that does not say how it takes images.

    Code of the backbone's own is taken at its word.

    Args:
        known: the types of configurations that can do the task.
    """
    if backbone.trust_remote_code:
        return
    if type(config) not in known:
        raise ModelError(
            f"backbone '{backbone.id}': it is a model of type '{config.model_type}', which cannot "
            f"do {task.kind}; give a backbone that can"
        )
    if task.noun == "texts":
        return
    settings = [Path(name) / f"{kind}_config.json" for kind in ("preprocessor", "processor")]
    timm = isinstance(config, TimmWrapperConfig)  # says it in config.json
    if Path(name).is_dir() and not timm and not any(file.exists() for file in settings):
        raise ModelError(
            f"backbone '{backbone.id}': there is no preprocessor_config.json in this folder, which "
            f"says how images become inputs; copy it from the model that this one was made from"
        )


def check_body(backbone: Backbone, loading: dict[str, Any], head: list[str]) -> None:
    """Refuse a checkpoint that leaves a part of the backbone without pretrained weights."""
    keys = [*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])]
    lost = sorted(
        key
        for key in keys
        if not key.startswith(tuple(f"{name}." for name in head))
        and not key.endswith("num_batches_tracked")
    )
    if lost:
        raise ModelError(
            f"backbone '{backbone.id}': the checkpoint has no weights of the right shape for "
            f"{len(lost)} tensors outside the head, such as {lost[0]}; it is another architecture"
            + (", or takes no other image size" if backbone.image_size else "")
        )


def check_adapter(folder: Path) -> None:
    """Refuse an adapter that no run leaves: peft would read pickled weights, or fetch for others.

    Raises:
        ModelError: so it is.
    """
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA" or settings.get("megatron_config") is not None:
        raise ModelError(f"adapter '{folder}': it is not a LoRA adapter as ftkit trains one")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"adapter '{folder}': there is no adapter_model.safetensors in it")
