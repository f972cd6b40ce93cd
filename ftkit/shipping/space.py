"""publish_space(run, repository): a page on the Hub that answers in its visitors' browsers.

A static Space is files alone and costs nothing. Before anything is pushed the page is opened in
Chromium, without a window, and must answer test rows as predictions.parquet has them.
"""

from __future__ import annotations

import logging
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from huggingface_hub import HfApi, RepoCard

from ftkit.errors import HubError, VerificationError
from ftkit.errors.names import first_few
from ftkit.exported.about import About
from ftkit.exported.model import Answers, columns_of, read_record
from ftkit.hub.errors import hub_errors, patiently
from ftkit.machine.numbers import fixed, plain
from ftkit.prediction.predict import open_run
from ftkit.publishing.card_metadata import metadata
from ftkit.publishing.repository import Files, claim, hold, require_name, require_no_token
from ftkit.recipe import Recipe
from ftkit.runs.finished import read_finished
from ftkit.runs.pinning import licences, shareable
from ftkit.runs.result import RunResult
from ftkit.shipping import page, proof
from ftkit.shipping.browser import answers_in_browser, find_chromium, require_chromium
from ftkit.shipping.export import export
from ftkit.shipping.npm_files import ORT, TOKENIZERS
from ftkit.shipping.rows import Measured, measured_rows

log = logging.getLogger(__name__)
ROWS = 100
"""Test rows that the page is checked on."""
TOLERANCE = {"images": 0.02}
"""How far a probability may be from the run's where browsers read rows by code of their own. A
grey PNG of 16 bits differed by 0.007; what else they read was the same (docs/browser.md)."""
OURS = ("*.js", "*.wasm", "*.onnx", "*.json", "index.html")
"""Files that an earlier push may have left in a Space, and that a later one replaces."""


def publish_space(
    run: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    checked: bool = True,
    node_modules: Path | None = None,
) -> str:
    """Put a page with the model of a finished run on the Hub, and return its address there.

    Args:
        run: a run folder.
        repo_id: `owner/name`, or `name` for one's own.
        private: make a Space that only its owner may see.
        checked: the page must answer test rows in Chromium as the run did.
        node_modules: where onnxruntime-web lies; got by npm when not given.

    Raises:
        RunError: the folder holds no finished run.
        MachineError: Chromium, npm or a package is missing.
        VerificationError: the exported file or the page answers otherwise than the run.
        HubError: the Hub refuses, or cannot be reached.
    """
    require_name(repo_id)
    if checked:
        require_chromium()
    folder = Path(run)
    result = read_finished(folder)
    recipe, model_folder = open_run(folder, {})
    with tempfile.TemporaryDirectory() as scratch:
        made = export(folder, Path(scratch) / "space").folder
        about = page.write(made, node_modules, repo_id.rpartition("/")[2])
        said = "It was not checked in a browser before it was published."
        if checked:
            rows = Path(scratch) / "rows"
            rows.mkdir()
            said = check(made, measured_rows(recipe, folder, model_folder, about, rows), about)
        try:
            name = claim(repo_id, private, "space")
            files = space_files(made, about, recipe, result, said, name)
            with hub_errors("repository", name):
                message = f"{recipe.name}, {recipe.strategy.kind}: a page that answers"
                commit = patiently(lambda: hold(files, name, "main", message, OURS, "space"))
        except HubError as error:
            words = ["ftkit", "push", str(folder), repo_id, "--space", *["--private"] * private]
            again = shlex.join([*words, *["--unchecked"] * (not checked)])
            raise HubError(f"{error}. {folder} is whole; publish it by '{again}'") from error
    address = f"{HfApi().endpoint}/spaces/{name}"
    log.info("published %s, commit %s", address, commit[:12])
    return address


def check(folder: Path, measured: Measured, about: About) -> str:
    """Require that the page answers test rows as the run did; return a sentence that says so.

    Raises:
        VerificationError: it does not.
        MachineError: there is no Chromium.
    """
    some = first_rows(measured, ROWS)
    answers = answers_in_browser(folder, some.rows, about)
    unread = [place for place, answer in enumerate(answers) if "error" in answer]
    if len(unread) == len(answers):
        raise VerificationError(
            f"the page reads none of {len(answers)} test rows in {find_chromium()}: "
            f"{answers[0]['error']}"
        )
    read = [place for place in range(len(answers)) if place not in set(unread)]
    some = at_places(some, read)
    told = as_answers([answers[place] for place in read], about)
    found = proof.compared(some, told, about, TOLERANCE.get(about.reads, proof.TOLERANCE))
    predicted = columns_of(about, told)["prediction"]
    for row, place in enumerate(read):
        found.other[row] |= not _same(answers[place]["prediction"], predicted[row], about)
    if found.wrong.any():
        numbers = first_few([str(number) for number in some.index[found.wrong]])
        raise VerificationError(
            f"the page answers {int(found.wrong.sum())} of {len(read)} test rows otherwise in "
            f"Chromium than the run did (rows {numbers}; numbers differ by up to "
            f"{plain(found.largest)}); --unchecked publishes it all the same"
        )
    more = f", and {len(unread)} that it cannot read" if unread else ""
    said = (
        f"Before it was published the page was opened in Chromium: it predicts {len(read):,} test "
        f"rows as the run did{more}; numbers differ by at most {plain(found.largest)}."
    )
    log.info(said)
    return said


def first_rows(measured: Measured, most: int) -> Measured:
    """Return the first rows of what was measured."""
    return at_places(measured, list(range(min(most, len(measured.rows)))))


def at_places(measured: Measured, places: list[int]) -> Measured:
    """Return some rows of what was measured."""
    columns = {
        name: [values[place] for place in places] for name, values in measured.columns.items()
    }
    rows = [measured.rows[place] for place in places]
    return replace(measured, rows=rows, index=measured.index[places], columns=columns)


def as_answers(answers: list[Any], about: About) -> Answers:
    """Return what the page said as answers of an exported file; its logits only tell the order."""
    scores = [answer["scores"] for answer in answers]
    if about.tells == "words":
        gap = [np.nan] * len(about.classes)
        words = [np.array([word or gap for word in row], np.float64) for row in scores]
        return Answers(words, words)
    numbers = np.array(scores, np.float64)
    if about.tells == "number":
        return Answers(numbers, numbers[:, 0])
    if about.tells == "tags":
        with np.errstate(divide="ignore"):
            return Answers(np.log(numbers) - np.log1p(-numbers), numbers)
    return Answers(numbers, numbers)


def _same(told: Any, predicted: Any, about: About) -> bool:
    """Return whether what the page shows is what its own numbers say."""
    if about.tells == "number":
        return bool(np.isclose(told, predicted, rtol=1e-6))
    return list(told) == list(predicted) if about.tells != "class" else told == str(predicted)


def space_files(
    folder: Path, about: About, recipe: Recipe, result: RunResult, said: str, name: str
) -> Files:
    """Return {path in the Space: a file, or its content}.

    Args:
        folder: that the page lies in.
        said: how it was checked.

    Raises:
        HubError: the card is not valid, or a file holds a token.
    """
    model = str(read_record(folder)["file"])
    files: Files = {path: folder / path for path in (*page.names_of(about), model)}
    readme = card(recipe, result, said, name)
    files["README.md"] = readme.encode()
    require_no_token(files)
    with hub_errors("repository", name):
        try:
            text = RepoCard(readme)
            patiently(lambda: text.validate(repo_type="space"))
        except (ValueError, yaml.YAMLError) as error:
            told = " ".join(str(error).split())[:200]
            raise HubError(f"repository '{name}': its card is not valid: {told}") from error
    return files


def card(recipe: Recipe, result: RunResult, said: str, name: str) -> str:
    """Return README.md of a Space, by whose head the Hub knows that it is files alone."""
    public = shareable(recipe)
    known = metadata(public, {}, result.split, licences(recipe))
    short = name.rpartition("/")[2]
    head = {
        "title": short,
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        "license": known.license,
        "models": [known.base_model] if known.base_model else None,
        "datasets": known.datasets,
        "tags": ["ftkit"],
    }
    front = yaml.safe_dump({k: v for k, v in head.items() if v is not None}, sort_keys=False)
    title, figure = next(iter(result.metrics.items()))
    interval = f"{fixed(figure.low, 4)} to {fixed(figure.high, 4)}"
    return f"""---
{front}---

# {short}

A page that answers in your browser: what you give it never leaves your device. It runs a model of \
{recipe.task.kind.replace("-", " ")} that ftkit trained by the recipe {recipe.name}, \
{recipe.strategy.kind}.

On {result.n:,} test rows: {title} {fixed(figure.value, 4)} (95 % interval {interval}).

{said}

The page uses {ORT[0]} {ORT[1]} (MIT licence, Microsoft Corporation) and, for texts, \
{TOKENIZERS[0]} {TOKENIZERS[1]} (Apache License 2.0, Hugging Face). They lie beside it.
"""
