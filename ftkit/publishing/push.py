"""Publishing: a finished run's model on the Hub, in one commit, however often it is tried.

Every try looks at what the repository holds, and commits the difference on top of exactly that
state. So a try after a lost answer finds its files there and is done, and two tries never make two
commits. The run folder is only read.
"""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from yaml import YAMLError

from ftkit.errors import HubError, RunError
from ftkit.hub.errors import hub_errors, patiently
from ftkit.hub.names import is_pinned
from ftkit.machine.numbers import fixed
from ftkit.publishing.card import PLOTS, comparison_section
from ftkit.publishing.card_metadata import eval_results, metadata
from ftkit.publishing.repository import Files, claim, hold, require_name, require_no_token
from ftkit.recipe import Recipe
from ftkit.runs.finished import changed_file, read_recipe
from ftkit.runs.pinning import Licences, revision_of, shareable
from ftkit.runs.result import RunResult
from ftkit.tasks.wording import HERE

log = logging.getLogger(__name__)
PUBLISHED = {".safetensors", ".json", ".md", ".txt", ".png", ".jinja", ".model", ".yaml"}
"""Suffixes of the files that are published. Other files in model/ are refused."""
OURS = ("*.safetensors", "*.json", "*.py", "adapter/*", "plots/*", ".eval_results/*")
"""Files that an earlier run may have left in a repository, and that a later run replaces."""


def claim_repository(
    repo_id: str, private: bool = False, revision: str | None = None, recipe: Recipe | None = None
) -> str:
    """Return the full name of a repository that this token may write to; make it if missing.

    To be called before training, so that hours do not end in a refusal.

    Args:
        repo_id: `owner/name`, or `name` for one's own.
        private: only its owner may see it.
        revision: branch to push to; main when not given.
        recipe: what will be trained; the metadata of its card is checked by the Hub's rules.

    Raises:
        HubError: the token, the repository or the card will not do.
    """
    name = claim(repo_id, private)
    with hub_errors("repository", name):
        if revision is not None:
            patiently(lambda: HfApi().create_branch(name, branch=revision, exist_ok=True))
        if recipe is not None:
            head = metadata(
                shareable(recipe), {recipe.task.figures[0]: 0.5}, "test", Licences()
            ).to_yaml()
            _check_card(f"---\n{head}\n---\n", name)
    return name


def publish(
    run: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    baseline: str | Path | None = None,
) -> str:
    """Put the model of a finished run on the Hub and return its address there.

    The repository gets what lies in model/, the pictures, recipe.json and run.json, and its model
    card with the repository's name in it. Where it holds all of that already, nothing is done.

    Args:
        run: a run folder.
        repo_id: `owner/name`, or `name` for one's own.
        private: make a repository that only its owner may see.
        revision: branch to push to, made where there is none; main when not given.
        baseline: a run on the same test rows, such as a perceptron's, that the card holds it
            against.

    Raises:
        RunError: the folder holds no finished run, or another model than the one verified, or the
            baseline was tested on other rows.
        HubError: the Hub refuses, or cannot be reached.
    """
    require_name(repo_id)
    folder = Path(run)
    result = RunResult.read(folder)
    recipe = read_recipe(folder)
    _check_verified(folder, result)
    against = (
        "" if baseline is None else comparison_section(result, _comparable(Path(baseline), result))
    )
    title, figure = next(iter(result.metrics.items()))
    message = f"{recipe.name}, {recipe.strategy.kind}: {title} {fixed(figure.value, 4)}"
    try:
        name = claim_repository(repo_id, private, revision)
        files = repository_files(folder, recipe, result, name, against)
        with hub_errors("repository", name, revision):
            commit = patiently(lambda: hold(files, name, revision or "main", message, OURS))
    except HubError as error:
        words = ["ftkit", "push", str(folder), repo_id, *["--private"] * private]
        words += ["--revision", revision] if revision else []
        again = shlex.join(words)
        raise HubError(f"{error}. {folder} is whole; publish it by '{again}'") from error
    address = f"{HfApi().endpoint}/{name}" + (f"/tree/{revision}" if revision else "")
    log.info("published %s, commit %s", address, commit[:12])
    return address


def repository_files(
    folder: Path, recipe: Recipe, result: RunResult, repo_id: str, against: str = ""
) -> Files:
    """Return {path in the repository: a file, or its content}.

    Args:
        against: section of the card that holds it against a baseline.

    Raises:
        RunError: there is something in model/ that is not to be published.
        HubError: the card is not valid.
    """
    model, files = folder / "model", Files()
    trusted = getattr(recipe.backbone, "trust_remote_code", False)
    for file in sorted(model.rglob("*")):
        path = file.relative_to(model)
        if file.is_dir() or any(part.startswith(".") for part in path.parts):
            continue
        own_code = trusted and file.suffix == ".py"
        if file.is_symlink() or not (own_code or file.suffix in PUBLISHED):
            raise RunError(
                f"{file} is not published: only plain files of kind {', '.join(sorted(PUBLISHED))} "
                f"are; remove it from model/"
            )
        files[path.as_posix()] = file
    if "README.md" not in files:
        raise RunError(f"{model} has no model card (README.md); is it a run of ftkit?")
    _leave_out_foreign_adapter(files, recipe)
    card = (model / "README.md").read_text(encoding="utf-8")
    card = card.replace(HERE, repo_id).replace(f"({PLOTS}", "(plots/")
    card = card.replace("## Training\n", f"{against}## Training\n", 1)
    files["README.md"] = card.encode()
    files |= {f"plots/{file.name}": file for file in sorted((folder / "plots").glob("*.png"))}
    public = shareable(recipe)
    files["recipe.json"] = public.to_json().encode()
    record = result.model_copy(update={"dataset": public.data.path})
    files["run.json"] = (record.model_dump_json(indent=2) + "\n").encode()
    files |= {path: text.encode() for path, text in eval_results(recipe, result).items()}
    require_no_token(files)
    _check_card(card, repo_id)
    return files


def _comparable(folder: Path, result: RunResult) -> RunResult:
    """Return the result of a baseline. One of other test rows is refused."""
    baseline = RunResult.read(folder)
    rows = [(run.dataset, run.split, run.n, next(iter(run.metrics))) for run in (baseline, result)]
    if rows[0] != rows[1]:
        raise RunError(
            f"baseline {folder} was tested on {baseline.n:,} rows of {baseline.dataset}, the model "
            f"on {result.n:,} of {result.dataset}; give a run on the same rows"
        )
    return baseline


def _check_verified(folder: Path, result: RunResult) -> None:
    """Refuse a model that is not the one that the run verified."""
    reason = changed_file(folder / "model", result.model_sha256, deep=True)
    if reason or not result.model_sha256:
        raise RunError(
            f"{folder / 'model'} is not the model that its run verified: "
            f"{reason or 'run.json has no checksums'}; only a verified model is published, bring "
            f"that file back, or train it again"
        )


def _check_card(text: str, name: str) -> None:
    """Refuse a card that the Hub would refuse."""
    with hub_errors("repository", name):
        try:
            card = ModelCard(text)
            patiently(lambda: card.validate(repo_type="model"))
        except (ValueError, YAMLError) as error:
            said = " ".join(str(error).split())[:200]
            raise HubError(f"repository '{name}': its model card is not valid: {said}") from error


def _leave_out_foreign_adapter(files: Files, recipe: Recipe) -> None:
    """Drop an adapter that works only with a backbone of this machine. Alone, it is refused."""
    if is_pinned(revision_of(recipe)):
        return
    if "adapter_config.json" in files:
        raise RunError(
            f"an adapter alone needs its backbone, and '{recipe.backbone.id}' is not on the Hub; "
            f"train with --set strategy.merge=true to publish the whole model"
        )
    for path in [path for path in files if path.startswith("adapter/")]:
        del files[path]
