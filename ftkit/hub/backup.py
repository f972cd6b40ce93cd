"""Checkpoints on the Hub: the newest one on a branch, for machines that are taken away.

Training goes on where the Hub does not answer: the checkpoint on this machine is whole, and the
next one is tried again.
"""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import HfApi

from ftkit.errors import HubError
from ftkit.hub.errors import hub_errors, patiently

log = logging.getLogger(__name__)
BRANCH = "checkpoints"


def push_checkpoint(checkpoint: Path, repo_id: str) -> None:
    """Make the branch `checkpoints` hold this file or folder and nothing else; log what goes wrong.

    It lies there under its own name, so that a download into checkpoints/ of a run is what
    `--resume` looks for.
    """
    api = HfApi()
    try:
        with hub_errors("repository", repo_id, BRANCH):
            patiently(lambda: api.create_repo(repo_id, exist_ok=True, private=None))
            patiently(lambda: api.create_branch(repo_id, branch=BRANCH, exist_ok=True))
            patiently(lambda: _upload(api, checkpoint, repo_id))
    except HubError as error:
        log.warning("checkpoint not pushed: %s", error)
        return
    log.info("pushed %s to %s, branch %s", checkpoint.name, repo_id, BRANCH)


def _upload(api: HfApi, checkpoint: Path, repo_id: str) -> None:
    root, only = checkpoint.parent, checkpoint.name
    api.upload_folder(
        repo_id=repo_id,
        folder_path=root,
        revision=BRANCH,
        allow_patterns=[only, f"{only}/*"],
        delete_patterns=["*"],
        commit_message=only,
    )
