"""What comes from the Hub: which commit a name means, and a backbone's files, whole."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any, Literal, TypeVar

from huggingface_hub import (
    HfApi,
    RepoCard,
    constants,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.file_download import repo_folder_name

from ftkit.addresses import shown
from ftkit.checksums import git_sha1, sha256_of
from ftkit.embedded import PREFIX
from ftkit.errors import HubError, RecipeError
from ftkit.hub import CLIENT_ERRORS, hub_errors, is_unreachable, patiently
from ftkit.recipe import Backbone, Recipe

log = logging.getLogger(__name__)
Kind = Literal["model", "dataset"]
Value = TypeVar("Value")
WORDS = {"model": "backbone", "dataset": "data set"}
TABLES = (".parquet", ".csv", ".tsv", ".json", ".jsonl")
TOKENIZERS = ("*.jinja", "*.model", "*.spm", "*.txt")
"""Chat templates and vocabularies that are no JSON."""
ANSWER_SECONDS = 10.0
"""How long the Hub may take to say which commit a name means."""
LEFTOVER_SECONDS = 24 * 3600.0
"""Parts of downloads that were cut off, and are older than this, are removed."""


def is_hub_id(name: str) -> bool:
    """Return whether a name is looked for on the Hub: it is neither embedded nor like a path."""
    if "://" in name or has_magic(name):
        return False
    like_a_path = name.startswith((PREFIX, "/", ".", "~")) or Path(name).suffix in TABLES
    return not (like_a_path or os.path.exists(name))


def pin(recipe: Recipe) -> Recipe:
    """Return the recipe with the commits that its backbone and its data are at now.

    Raises:
        HubError: the Hub has no such thing, or cannot be asked and there is no cached copy.
    """
    pinned = {}
    backbone = recipe.backbone
    if isinstance(backbone, Backbone) and is_hub_id(backbone.id):
        pinned["backbone.revision"] = resolve("model", backbone.id, backbone.revision)
    if is_hub_id(recipe.data.path):
        pinned["data.revision"] = resolve("dataset", recipe.data.path, recipe.data.revision)
    return recipe.override(pinned) if pinned else recipe


def is_pinned(revision: str | None) -> bool:
    """Return whether a revision is a commit, as `pin` leaves it for what is on the Hub."""
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def revision_of(recipe: Recipe) -> str | None:
    """Return the revision of the backbone, None for a perceptron."""
    return getattr(recipe.backbone, "revision", None)


def shareable(recipe: Recipe) -> Recipe:
    """Return a pinned recipe without the folders of this machine: of a path, the name alone.

    Whoever runs it sends his checkpoints where he wants.
    """
    backbone: Any = recipe.backbone
    changes: dict[str, Any] = {"train.push_checkpoints": None}
    paths = {"data.path": (recipe.data.path, recipe.data.revision)}
    if isinstance(backbone, Backbone):
        paths["backbone.id"] = (backbone.id, backbone.revision)
    elif backbone.start is not None:
        paths["backbone.start"] = (backbone.start, None)
    for field, (name, revision) in paths.items():
        if not name.startswith(PREFIX) and not is_pinned(revision):
            changes[field] = f"./{Path(shown(name)).name}"
    return recipe.override(changes)


def resolve(kind: Kind, name: str, revision: str | None, what: str | None = None) -> str:
    """Return the commit that a branch or tag of a Hub repository means.

    Where the Hub cannot be reached, a cached copy stands in and the log says so.

    Args:
        what: it is wanted as, for messages; "backbone" or "data set" when not given.

    Raises:
        HubError: there is no such thing, or neither the Hub nor a cached copy.
    """
    if revision is not None and is_pinned(revision):
        return revision
    api, what = HfApi(), what or WORDS[kind]

    def ask() -> str:
        api.repo_info(name, repo_type=kind, revision=revision, timeout=ANSWER_SECONDS)
        return api.resolve_revision(name, repo_type=kind, revision=revision).resolved

    with hub_errors(what, name, revision):
        try:
            return patiently(ask)
        except CLIENT_ERRORS as error:
            if not is_unreachable(error):
                raise
            try:
                cached = api.resolve_revision(
                    name, repo_type=kind, revision=revision, local_files_only=True
                ).resolved
            except CLIENT_ERRORS:
                raise error from None
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"no answer of {api.endpoint}"
    log.warning("%s '%s': %s; the cached copy of commit %s is used", what, name, why, cached[:12])
    return cached


def fetch(backbone: Backbone) -> Path:
    """Return the folder of the cache with a backbone's files, each compared with its checksum.

    Raises:
        HubError: the Hub does not give them, or gives a damaged one twice.
    """
    commit = resolve("model", backbone.id, backbone.revision)
    wanted = ["*.json", "*.safetensors", "README.md", *TOKENIZERS]
    wanted += ["*.bin"] if backbone.allow_pickle else []
    wanted += ["*.py"] if backbone.trust_remote_code else []

    def download(again: bool) -> str:
        with hub_errors("backbone", backbone.id, backbone.revision):
            return patiently(
                lambda: snapshot_download(
                    backbone.id, revision=commit, allow_patterns=wanted, ignore_patterns=["*/*"]
                )
            )

    folder = Path(whole("model", backbone.id, commit, download))
    _sweep(folder.parents[1] / "blobs")
    return folder


def fetch_recipe(name: str) -> Recipe:
    """Return the recipe that a model on the Hub was published with, as it stands there.

    Raises:
        HubError: there is no such model, or no recipe in it.
        RecipeError: it is not a recipe of this version.
    """
    commit = resolve("model", name, None, what="recipe")
    with hub_errors("recipe", name):
        file = patiently(lambda: hf_hub_download(name, "recipe.json", revision=commit))
    try:
        return Recipe.from_json(Path(file).read_text(encoding="utf-8"))
    except (RecipeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe '{name}': {error}") from None


def whole(kind: Kind, name: str, commit: str, download: Callable[[bool], Value]) -> Value:
    """Return what `download` gives; fetch again, once, what came damaged.

    Args:
        download: is told whether it is called again.


    Raises:
        HubError: a file came damaged again.
    """
    for again in (False, True):
        found, failure = None, None
        try:
            found = download(again)
        except Exception as error:  # perhaps because of a damaged file
            failure = error
        damaged = [file for file in _cached_files(kind, name, commit) if not is_whole(file)]
        for file in damaged:
            _discard(file)
        if not damaged:
            if failure is not None:
                raise failure
            return found  # type: ignore[return-value]
        named = ", ".join(file.name for file in damaged)
        if not again:
            log.warning("%s '%s': %s came damaged, fetching again", WORDS[kind], name, named)
    raise HubError(
        f"{WORDS[kind]} '{name}': {constants.ENDPOINT} gave {named} damaged twice, its checksum is "
        f"not the one that was told; it was removed from the cache, try again later"
    )


def is_whole(file: Path) -> bool:
    """Return whether a file of the cache has the content that its name there promises.

    The clients accept a changed byte, over LFS as over Xet (measured with huggingface_hub 2.4). But
    the cache names a file after the checksum that the Hub told: sha256 for large files, git's sha1
    for others. A cache without symbolic links, as on some Windows machines, does not.
    """
    if not file.is_symlink():
        return True
    promised = Path(os.readlink(file)).name
    if re.fullmatch("[0-9a-f]{64}", promised):
        return sha256_of(file) == promised
    return not is_pinned(promised) or git_sha1(file.read_bytes()) == promised


@dataclass(frozen=True)
class Licences:
    """What the cards of a backbone and of a data set name as their licence."""

    backbone: str | None = None
    data: str | None = None

    @property
    def non_commercial(self) -> tuple[str, ...]:
        """Which of the two forbid commercial use, as the name of their licence tells."""
        named = {"backbone": self.backbone, "data": self.data}
        return tuple(what for what, name in named.items() if name and "-nc" in name.lower())


def licences(recipe: Recipe) -> Licences:
    """Return the licences of a pinned recipe's backbone and data, from the cards in the cache."""
    return Licences(
        _licence("model", recipe.backbone.id, revision_of(recipe)),
        _licence("dataset", recipe.data.path, recipe.data.revision),
    )


def _licence(kind: Kind, name: str, commit: str | None) -> str | None:
    if not is_pinned(commit):
        return None
    card = try_to_load_from_cache(name, "README.md", revision=commit, repo_type=kind)
    if not isinstance(card, str):
        return None
    try:
        named = RepoCard.load(card, ignore_metadata_errors=True).data.to_dict().get("license")
    except ValueError:  # a card without metadata
        return None
    return ", ".join(map(str, named)) if isinstance(named, list) else named


def _cached_files(kind: Kind, name: str, commit: str) -> list[Path]:
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)
    return [file for file in (folder / "snapshots" / commit).rglob("*") if file.is_file()]


def _discard(file: Path) -> None:
    """Remove a file of the cache and what it points to: repositories may share it."""
    content = file.resolve()
    if file.is_symlink():
        (file.parent / os.readlink(file)).unlink(missing_ok=True)
    file.unlink()
    content.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what downloads that were killed left behind."""
    for part in folder.glob("*.incomplete"):
        if time.time() - part.stat().st_mtime > LEFTOVER_SECONDS:
            part.unlink(missing_ok=True)
