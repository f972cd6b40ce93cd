"""What comes from the Hub: which commit a name means, and a backbone's files, whole."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name

from ftkit.errors import HubError
from ftkit.hub.checksums import git_sha1, sha256_of
from ftkit.hub.errors import CLIENT_ERRORS, hub_errors, is_unreachable, patiently
from ftkit.hub.names import POOLING, is_pinned

log = logging.getLogger(__name__)
Kind = Literal["model", "dataset"]
Value = TypeVar("Value")
WORDS = {"model": "backbone", "dataset": "data set"}
TOKENIZERS = ("*.jinja", "*.model", "*.spm", "*.txt")
"""Chat templates and vocabularies that are not JSON."""
ANSWER_SECONDS = 10.0
"""How long the Hub may take to say which commit a name means."""
LEFTOVER_SECONDS = 24 * 3600.0
"""Parts of downloads that were cut off are removed when they are older."""


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


def fetch(
    name: str,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    what: str = "backbone",
) -> Path:
    """Return the folder of the cache with a model's files, each compared with its checksum.

    Args:
        allow_pickle: fetch weights in torch's own format, too.
        trust_remote_code: fetch the Python files that lie beside the weights, too.
        what: it is wanted as, for messages.

    Raises:
        HubError: the Hub does not give them, or gives a damaged one twice.
    """
    commit = resolve("model", name, revision, what)
    wanted = ["*.json", "*.safetensors", "README.md", *TOKENIZERS]
    wanted += ["*.bin"] if allow_pickle else []
    wanted += ["*.py"] if trust_remote_code else []

    def download(again: bool) -> str:
        with hub_errors(what, name, revision):
            folder = patiently(
                lambda: snapshot_download(
                    name, revision=commit, allow_patterns=wanted, ignore_patterns=["*/*"]
                )
            )
            encoder, known = (Path(folder, file).exists() for file in ("modules.json", POOLING))
            if encoder and not known:
                _fetch_pooling(name, commit)
            return folder

    folder = Path(download_whole("model", name, commit, download))
    _remove_unfinished(folder.parents[1] / "blobs")
    return folder


def _fetch_pooling(name: str, commit: str) -> None:
    """Fetch what a sentence encoder says of its pooling; an earlier version left it out."""
    try:
        patiently(lambda: snapshot_download(name, revision=commit, allow_patterns=POOLING))
    except CLIENT_ERRORS as error:
        if not (is_unreachable(error) or isinstance(error, LocalEntryNotFoundError)):
            raise
        log.warning(
            "backbone '%s': the cache has no %s, and the Hub cannot be asked for it now: a new "
            "head reads the first token; with --set backbone.pooling=mean it reads the mean",
            *(name, POOLING),
        )


def download_whole(kind: Kind, name: str, commit: str, download: Callable[[bool], Value]) -> Value:
    """Return what `download` gives. What came damaged is fetched again, once.

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


def _cached_files(kind: Kind, name: str, commit: str) -> list[Path]:
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)
    return [file for file in (folder / "snapshots" / commit).rglob("*") if file.is_file()]


def _discard(file: Path) -> None:
    """Remove a file of the cache and the content it points to, which repositories may share."""
    content = file.resolve()
    if file.is_symlink():
        (file.parent / os.readlink(file)).unlink(missing_ok=True)
    file.unlink()
    content.unlink(missing_ok=True)


def _remove_unfinished(folder: Path) -> None:
    """Remove what killed downloads left behind."""
    for part in folder.glob("*.incomplete"):
        if time.time() - part.stat().st_mtime > LEFTOVER_SECONDS:
            part.unlink(missing_ok=True)
