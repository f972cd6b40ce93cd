"""A repository of the Hub: claimed by its name, and made to hold files by at most one commit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ftkit.errors import HubError
from ftkit.hub.checksums import git_sha1, sha256_of
from ftkit.hub.errors import hub_errors, patiently
from ftkit.recipe.explain import shown

Kind = Literal["model", "space"]
Files = dict[str, "Path | bytes"]
STATIC: dict[Kind, dict[str, Any]] = {"model": {}, "space": {"space_sdk": "static"}}
"""What the Hub wants to know of a new repository; a static Space is files alone."""


def claim(repo_id: str, private: bool = False, kind: Kind = "model") -> str:
    """Return the full name of a repository that this token may write to; make it if missing.

    Args:
        repo_id: `owner/name`, or `name` for one's own.
        private: only its owner may see it.

    Raises:
        HubError: the name, the token or the repository will not do.
    """
    require_name(repo_id)
    api = HfApi()
    with hub_errors("repository", repo_id):
        who = patiently(api.whoami)
        name = repo_id if "/" in repo_id else f"{who['name']}/{repo_id}"
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise HubError(
                f"repository '{name}': your token may only read at {api.endpoint}; make one that "
                f"may write and run 'hf auth login'"
            )
        patiently(
            lambda: api.create_repo(
                name, private=private or None, exist_ok=True, repo_type=kind, **STATIC[kind]
            )
        )
        patiently(lambda: api.auth_check(name, write=True, repo_type=kind))
        if private and not patiently(lambda: api.repo_info(name, repo_type=kind)).private:
            raise HubError(
                f"repository '{name}' is public at {api.endpoint}, and --private was asked for; "
                f"give another name, or make it private there first"
            )
    return name


def require_name(repo_id: str) -> None:
    """Refuse what cannot name a repository, before anything is trained or asked of the Hub.

    Raises:
        HubError: so it is, with the nearest name that can.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        parts = [
            re.sub(r"[^\w.-]+|-{2,}|\.{2,}", "-", part, flags=re.ASCII)
            for part in repo_id.removesuffix(".git").split("/")[-2:]
        ]
        near = "/".join(part.strip("-.")[:48] or "model" for part in parts)
        raise HubError(
            f"repository {shown(repo_id)}: expected OWNER/NAME of letters, digits, - _ and ., no "
            f"longer than 96 characters; '{near}' would do"
        ) from None


def hold(
    files: Mapping[str, Path | bytes],
    name: str,
    branch: str,
    message: str,
    ours: Sequence[str],
    kind: Kind = "model",
) -> str:
    """Make the branch hold these files by at most one commit, and return its newest commit.

    Args:
        ours: patterns of files that an earlier commit of ftkit may have left there; those that are
            not among the files are removed.
    """
    api = HfApi()
    head = api.repo_info(name, revision=branch, repo_type=kind).sha
    assert head is not None
    tree = api.list_repo_tree(name, recursive=True, revision=head, repo_type=kind)
    there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    changes: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path, content)
        for path, content in files.items()
        if path not in there or not _has_content(content, there[path])
    ]
    changes += [
        CommitOperationDelete(path)
        for path in there
        if path not in files and any(fnmatch(path, pattern) for pattern in ours)
    ]
    if not changes:
        return head
    return api.create_commit(
        name,
        changes,
        commit_message=message,
        revision=branch,
        parent_commit=head,
        repo_type=kind,
    ).oid


def _has_content(content: Path | bytes, there: RepoFile) -> bool:
    """Return whether a file of a repository has this content."""
    if there.lfs and isinstance(content, Path):
        return sha256_of(content) == there.lfs.sha256
    data = content.read_bytes() if isinstance(content, Path) else content
    if there.lfs:
        return hashlib.sha256(data).hexdigest() == there.lfs.sha256
    return git_sha1(data) == there.blob_id


def require_no_token(files: Files) -> None:
    """Refuse to publish a text that holds the user's token.

    Raises:
        HubError: one does.
    """
    token = get_token()
    for path, content in files.items():
        if path.endswith((".safetensors", ".png", ".onnx", ".wasm")) or not token:
            continue
        text = content.read_bytes() if isinstance(content, Path) else content
        if token.encode() in text:
            raise HubError(f"{path} holds your token and is not published; remove it there")
