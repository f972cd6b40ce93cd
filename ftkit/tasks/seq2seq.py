"""Encoder-decoders as translators: their languages, their search, what their decoder reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from ftkit.errors import ModelError, nearest
from ftkit.hub.errors import loading_errors
from ftkit.recipe import Translation
from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.text_rows import USUAL_MOST


def write_translator(
    task: Translation, backbone: str, model: PreTrainedModel, tokenizer: Any
) -> None:
    """Write languages and length into the tokenizer, and the search into the generation config.

    So what is saved translates as it was measured, by `generate` without any argument. The search
    begins as training does: with what the decoder reads first, and then, where the translation's
    tokens begin with it, the language's code.
    """
    positions = getattr(model.config, "max_position_embeddings", None) or USUAL_MOST
    tokenizer.model_max_length = min(
        task.max_length or USUAL_MOST, tokenizer.model_max_length, positions
    )
    known = _languages(tokenizer)
    source = _language(task, "source", known, backbone, tokenizer)
    target = _language(task, "target", known, backbone, tokenizer)
    if known:
        tokenizer.init_kwargs |= {"src_lang": source, "tgt_lang": target}  # these are saved
        tokenizer.src_lang, tokenizer.tgt_lang = source, target
    modules: Any = model.modules()
    for module in modules:
        if hasattr(module, "layerdrop"):  # of mBART and NLLB: a step that lacks a layer lacks its
            module.layerdrop = 0.0  # gradients, for which several processes wait
    search: Any = model.generation_config
    search.num_beams = task.beams
    if task.beams == 1:  # what says how several beams end is refused beside one
        search.early_stopping, search.length_penalty = False, 1.0
    search.max_new_tokens, search.max_length = tokenizer.model_max_length, None
    with loading_errors("backbone", backbone, ModelError):
        first = tokenizer(text_target=["a text"], return_tensors="pt")["input_ids"]
        search.decoder_start_token_id = int(shift_of(model)(first)[0, 0])
    if known and int(first[0, 0]) == known[str(target)]:
        search.forced_bos_token_id = known[str(target)]


@dataclass(frozen=True)
class Shift:
    """How a translation's tokens become what the decoder reads: the same, one place later."""

    start: int | None
    """Token that stands first; None for the last one of the row, as mBART has it."""
    padding: int

    def __call__(self, labels: torch.Tensor) -> torch.Tensor:
        """Return (B, T) of labels (B, T), which are -100 where there is no token."""
        if self.start is None:
            last = (labels != NO_LABEL).sum(1, keepdim=True) - 1
            first = labels.gather(1, last.clamp(min=0))
        else:
            first = torch.full_like(labels[:, :1], self.start)
        shifted = torch.cat([first, labels[:, :-1]], 1)
        return shifted.masked_fill(shifted == NO_LABEL, self.padding)


def shift_of(model: Any) -> Shift:
    """Return how this model does it, found out from two rows that it shifts.

    Raises:
        ModelError: it does it in a way of its own.
    """
    padding, start = model.config.pad_token_id, model.config.decoder_start_token_id
    rows = torch.tensor(
        [[padding + 1, padding + 2, padding + 3], [padding + 4, padding + 5, NO_LABEL]]
    )
    if not hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return Shift(start, padding)  # NLLB's class does so inside its forward pass
    found = model.prepare_decoder_input_ids_from_labels(labels=rows)
    for shift in (Shift(None, padding), Shift(int(found[0, 0]), padding)):
        if torch.equal(shift(rows), found):
            return shift
    raise ModelError(
        f"{type(model).__name__} makes what its decoder reads in a way that ftkit does not know"
    )


def _languages(tokenizer: Any) -> dict[str, int]:
    """Return the codes that the tokenizer knows with their tokens; none where it is of one pair."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    codes = getattr(tokenizer, "lang_code_to_id", None)  # NLLB's has its codes as special tokens
    if codes is None:
        tokens = [str(token) for token in tokenizer.extra_special_tokens]
        codes = {code: tokenizer.convert_tokens_to_ids(code) for code in tokens}
    return {code: token for code, token in codes.items() if token != tokenizer.unk_token_id}


def _language(
    task: Translation, side: str, known: dict[str, int], backbone: str, tokenizer: Any
) -> str | None:
    """Return the code that was asked for, or the one that the tokenizer was saved with.

    Raises:
        ModelError: the backbone does not know it, or knows several and none was given.
    """
    field, code = f"task.{side}_language", getattr(task, f"{side}_language")
    if not known and code is not None:
        raise ModelError(
            f"{field} = '{code}': backbone '{backbone}' takes no codes of languages; leave it out"
        )
    code = code or tokenizer.init_kwargs.get({"source": "src_lang", "target": "tgt_lang"}[side])
    if not known or code in known:
        return code
    if code is None:
        raise ModelError(
            f"{field} is missing: backbone '{backbone}' knows {len(known)} languages; give the "
            f"code, such as --set {field}={min(known)}"
        )
    alike = sorted(other for other in known if other[:2] == code[:2]) or sorted(known)
    near = nearest(code, known) or f"; codes are {', '.join(alike[:6])}, ..."
    raise ModelError(f"{field} = '{code}': backbone '{backbone}' does not know it{near}")
