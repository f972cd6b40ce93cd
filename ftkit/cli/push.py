"""The command of the Hub: `ftkit push`."""

from __future__ import annotations

from pathlib import Path

from ftkit.cli.words import Switch
from ftkit.machine.terminal import speak


def push(
    run: Path,
    repository: str,
    *,
    private: Switch = False,
    revision: str | None = None,
    baseline: Path | None = None,
) -> None:
    """Publish the model of a finished run on the Hub. Can be repeated: it never commits twice.

    Parameters
    ----------
    run
        Folder of a finished run.
    repository
        OWNER/NAME on the Hub, made where there is none.
    private
        Make it a repository that only its owner may see.
    revision
        Branch to publish to, made where there is none.
    baseline
        Folder of a run on the same test rows, such as a perceptron's, for the card to compare with.
    """
    speak(quieten=False)
    from ftkit.publishing.push import publish

    print(publish(run, repository, private=private, revision=revision, baseline=baseline))
