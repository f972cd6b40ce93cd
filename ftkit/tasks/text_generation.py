"""Texts in, the next token out: further pre-training, or answers to instructions."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset, Features, Value
from torch import nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, AutoTokenizer

from ftkit.data.conversations import MESSAGES, messages_of
from ftkit.data.splits import ROLES, Splits
from ftkit.errors import DataError, ModelError, RecipeError
from ftkit.hub.errors import loading_errors
from ftkit.machine.runtime import Machine
from ftkit.recipe import Recipe, Train
from ftkit.runs.plots import plot_perplexities
from ftkit.runs.result import Measured
from ftkit.tasks.base import Task
from ftkit.tasks.chat import end_of_turn, give_template, prompt_of
from ftkit.tasks.evaluation import for_each_row
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.language_columns import asked_columns, certain_columns
from ftkit.tasks.metrics import Groups
from ftkit.tasks.metrics.language import TextScores, measure_texts, score_texts
from ftkit.tasks.model_inputs import Auto
from ftkit.tasks.packing import pack, why_not_packed
from ftkit.tasks.table_reading import Labels
from ftkit.tasks.text_rows import USUAL_MOST
from ftkit.tasks.token_rows import Tokens, has_targets, pieces_of
from ftkit.tasks.wording import HERE, Wording, pipeline_snippet
from ftkit.tasks.writing import next_token_loss, sums_of, write_answers

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)
AUTO = Auto(AutoModelForCausalLM, AutoTokenizer, MODEL_FOR_CAUSAL_LM_MAPPING, new_head=False)
SHOWN = 1000
"""Characters of a text in predictions.parquet."""


class TextGeneration(Task):
    """What comes next in each text, or the answers in each conversation."""

    auto = AUTO

    def resolve_columns(self, features: Features) -> Self:
        """Return the task with the column of texts or of conversations, or of prompt and answer."""
        found = asked_columns(self.settings, features) or certain_columns(features)
        if found is None:
            raise DataError(
                f"which column is the text? Columns are {', '.join(features)}; several or none "
                f"could be it. Use --set task.text=COLUMN, --set task.messages=COLUMN, or --set "
                f"task.prompt=COLUMN --set task.answer=COLUMN"
            )
        return self.changed(**found)

    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of texts."""
        task = self.settings
        columns = (task.text, task.messages, task.prompt, task.answer)
        return tuple(column for column in columns if column is not None)

    def label_columns(self) -> tuple[str, ...]:
        """Return none: every text says itself what comes next."""
        return ()

    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows in one column: `text`, or `messages` with role and content of each."""
        task = self.settings
        if task.text is not None:
            texts = {"text": rows[task.text][:]}
            return Dataset.from_dict(texts, Features({"text": Value("string")}))
        if task.messages is not None:
            found = [messages_of(row) for row in rows[task.messages][:]]
        else:
            pairs = zip(rows[str(task.prompt)][:], rows[str(task.answer)][:], strict=True)
            found = [
                [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
                for prompt, answer in pairs
            ]
        return Dataset.from_dict({"messages": found}, Features({"messages": MESSAGES}))

    def read_labels(self, splits: Mapping[str, Dataset], strict: bool = True) -> Labels:
        """Return no names, and 0 for each row."""
        return (), {split: np.zeros(len(rows), np.int64) for split, rows in splits.items()}

    def known_labels(self, names: tuple[str, ...]) -> dict[str, Dataset]:
        """Return nothing: there are no classes."""
        return {}

    def for_backbone(self, splits: Splits, model: Any, processor: Any) -> Self:
        """Fill in columns, length and packing; give the tokenizer a chat template if it needs one.

        Raises:
            ModelError: conversations are to be learned, and nothing says where an answer ends.
        """
        task = splits.task or self.settings
        positions = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
        most = min(task.max_length or USUAL_MOST, positions, processor.model_max_length)
        if task.max_length is not None and most < task.max_length:
            log.info("task.max_length: the backbone takes %d tokens, not %d", most, task.max_length)
        reason = why_not_packed(model) if task.pack else None
        if reason:
            log.info("texts are not packed, rows are filled up with padding: %s", reason)
        if task.text is None:
            if give_template(processor):
                log.info("the backbone has no chat template; a plain one is used and saved with it")
            _stop_at(model, end_of_turn(processor))
        if model.generation_config.pad_token_id is None:
            model.generation_config.pad_token_id = processor.pad_token_id
        update = {"max_length": most, "pack": task.pack and reason is None}
        return type(self)(task.model_copy(update=update))

    def prepare(self, splits: Splits, processor: Any, seed: int) -> Inputs:
        """Return tokens, those of training packed where the settled task says so.

        Raises:
            DataError: a conversation cannot be read, or nothing is to be learned from the rows.
        """
        task = self.settings
        found = {r: pieces_of(task, getattr(splits, r), processor, r) for r in ROLES}
        for role, pieces in found.items():
            if not any(map(has_targets, pieces)):
                raise DataError(
                    f"no {role} row has a token to be predicted within {task.max_length} tokens; "
                    f"use a larger --set task.max_length"
                )
        told = [piece for piece in found["train"] if has_targets(piece)]
        lost = len({piece.row for piece in found["train"]}) - len({piece.row for piece in told})
        if lost:
            log.info(
                f"train: {lost} rows have nothing to be predicted in their first {task.max_length} "
                "tokens and are left out"
            )
        groups = [[place] for place in range(len(told))]
        if task.pack:
            lengths, most = [len(piece.ids) for piece in told], task.max_length or USUAL_MOST
            groups = pack(lengths, most)
            log.info(
                f"train: {len(told):,} texts packed into {len(groups):,} rows of {most} tokens, "
                f"{100 * sum(lengths) / (len(groups) * most):.1f} % full"
            )
        train = Tokens(told, splits.train, processor, groups, packed=task.pack)
        validation, test = (
            Tokens(found[role], getattr(splits, role), processor) for role in ("validation", "test")
        )
        return Inputs(train=train, train_plain=train, validation=validation, test=test)

    def check_forward(self, model: Any, processor: Any, backbone: Any) -> None:
        """Read two texts that differ in their end: what was said before must not know of it."""
        size = model.config.get_text_config().vocab_size
        if len(processor) > size:
            raise ModelError(
                f"backbone '{backbone.id}': its tokenizer has {len(processor):,} tokens and the "
                f"model {size:,}; they do not belong together"
            )
        ids = torch.arange(6).remainder(size).repeat(2, 1)
        ids[1, -1] = size - 1
        with loading_errors("backbone", backbone.id, ModelError), torch.inference_mode():
            one, other = model.eval()(input_ids=ids).logits[:, :-1]
        if not torch.allclose(one, other, rtol=0, atol=1e-4 * float(one.abs().max())):
            raise ModelError(
                f"backbone '{backbone.id}': {type(model).__name__} sees the words that follow, so "
                f"it cannot learn to predict them; give a backbone that reads from left to right, "
                f"as GPT-2"
            )

    def loss(self, settings: Train, labels: np.ndarray, classes: int) -> Callable[..., Any]:
        """Return the mean cross-entropy of the tokens that are to be predicted."""
        if settings.class_weights != "none":
            raise RecipeError("train.class_weights: a language model has no classes; leave it out")
        return partial(next_token_loss, label_smoothing=settings.label_smoothing)

    def measure_before(
        self, model: nn.Module, rows: Any, settings: Train, machine: Machine
    ) -> dict[str, Measured]:
        """Return the backbone's own perplexity."""
        outputs = self.predict(model, rows, settings, machine, final=False)
        found = self.measure(rows.labels, outputs, settings.seed)["perplexity"]
        log.info(
            "before training: perplexity %.2f [%.2f, %.2f]", found.value, found.low, found.high
        )
        return {"perplexity_before": found}

    def predict(
        self, model: nn.Module, rows: Any, settings: Train, machine: Machine, final: bool = True
    ) -> TextScores:
        """Return the sums over the tokens of each text, and where `final` some written answers."""
        model.eval()
        sums = for_each_row(partial(sums_of, model), rows, settings, machine, with_labels=True)
        whole = np.zeros((len(rows.labels), 3))
        np.add.at(whole, rows.owners, sums)
        answers: dict[int, str] = {}
        if final and "messages" in rows.rows.column_names:
            answers = write_answers(self.settings, model, rows, machine)
        nats, tokens, right = whole.T
        return TextScores(nats, tokens, right, tuple(answers.get(row) for row in range(len(whole))))

    def score(self, labels: np.ndarray, outputs: TextScores) -> dict[str, float]:
        """Return the loss and the figures over all tokens."""
        return score_texts(outputs)

    def measure(
        self, labels: np.ndarray, outputs: TextScores, seed: int = 0, groups: Groups = None
    ) -> dict[str, Measured]:
        """Return the figures with their intervals, by the bootstrap."""
        return measure_texts(outputs, seed, groups)

    def columns(self, splits: Splits, outputs: TextScores) -> dict[str, Any]:
        """Return `text`, or `prompt`, `answer` and `written`; tokens, loss and perplexity."""
        numbers = {
            "tokens": outputs.tokens.astype(np.int64),
            "loss": outputs.losses,
            "perplexity": np.exp(outputs.losses),
        }
        if self.settings.text is not None:
            return {"text": [_cut(text) for text in splits.test["text"]], **numbers}
        talks = splits.test["messages"][:]
        prompts = [prompt_of(talk) for talk in talks]
        pairs = zip(talks, prompts, strict=True)
        return {
            "prompt": [_cut(prompt[-1]["content"]) for prompt in prompts],
            "answer": [_cut(talk[len(prompt)]["content"]) for talk, prompt in pairs],
            "written": outputs.answers,
            **numbers,
        }

    def draw(self, splits: Splits, outputs: TextScores, folder: Path, title: str) -> None:
        """Draw how many test texts have which perplexity: perplexity.png."""
        whole = float(np.exp(outputs.nats.sum() / outputs.tokens.sum()))
        found = np.exp(outputs.losses[np.isfinite(outputs.losses)])
        plot_perplexities(found, whole, folder / "perplexity.png", title)

    def expected_on_reload(self, outputs: TextScores, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the nats a token of each text, and the answers that were written."""
        answers = [outputs.answers[row] for row in rows if outputs.answers[row] is not None]
        found: dict[str, np.ndarray] = {"losses": outputs.losses[rows]}
        return {**found, "answers": np.array(answers, dtype=str)} if answers else found

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says."""
        task = self.settings
        talks = task.text is None
        how = (
            "It answers in conversations, in the chat template saved with its tokenizer; the loss "
            "was on the answers alone"
            if talks
            else "It goes on with a text; the loss was on every token but a text's first"
        )
        same = "loss for each text" + (", and the same answers" if talks and task.answers else "")
        return Wording(
            trained=recipe.strategy.what_was_trained(new_head=False),
            answers=f"{how}. The row `perplexity before` is the backbone's own on the same texts.",
            any_input=f"{'an answer' if talks else 'a continuation'}, be it true or not",
            picture="Perplexity",
            same=same,
            snippet=_snippet(recipe, talks),
        )


def _stop_at(model: Any, token: int | None) -> None:
    """Let the model stop writing at this token too."""
    config = model.generation_config
    stops = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if token is not None and token not in stops:
        stops = [stop for stop in stops if stop is not None] + [token]
        config.eos_token_id = stops if len(stops) > 1 else token


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."


def _snippet(recipe: Recipe, talks: bool) -> str:
    prompt = '[{"role": "user", "content": "Who are you?"}]' if talks else '"Once upon a time"'
    use = f"""answer = tell({prompt}, max_new_tokens=40, do_sample=False, return_full_text=False)
print(answer[0]["generated_text"])"""
    if not recipe.strategy.adapter_alone:
        return pipeline_snippet(recipe.task, use)
    return f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

base = AutoModelForCausalLM.from_pretrained({json.dumps(recipe.backbone.id)})
model = PeftModel.from_pretrained(base, "{HERE}")
tokenizer = AutoTokenizer.from_pretrained("{HERE}")
tell = pipeline("text-generation", model=model, tokenizer=tokenizer)
{use}"""
