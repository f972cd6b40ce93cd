"""The command of the Hub: `ftkit push`."""

from __future__ import annotations

from pathlib import Path

from ftkit.cli.folders import at_home
from ftkit.cli.words import Switch
from ftkit.errors import HubError
from ftkit.machine.terminal import speak


def push(
    run: Path,
    repository: str,
    *,
    private: Switch = False,
    revision: str | None = None,
    baseline: Path | None = None,
    space: Switch = False,
    unchecked: Switch = False,
    node_modules: Path | None = None,
) -> None:
    """Publish the model of a finished run on the Hub. Can be repeated: it never commits twice.

    With --space it is a page instead, which answers in its visitors' browsers.

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
    space
        Publish a static Space: the exported model and a page that runs it, without a server.
    unchecked
        Publish the Space without the check in Chromium that the page answers as the run did.
    node_modules
        Folder into which npm has installed what the page needs; got by npm when not given.
    """
    speak(quieten=space)
    if space:
        if revision is not None or baseline is not None:
            raise HubError("a Space has neither --revision nor --baseline; leave them out")
        from ftkit.shipping.space import publish_space

        print(
            publish_space(
                run,
                repository,
                private=private,
                checked=not unchecked,
                node_modules=at_home(node_modules),
            )
        )
        return
    if unchecked or node_modules is not None:
        raise HubError("--unchecked and --node-modules are for a Space; add --space")
    from ftkit.publishing.push import publish

    print(publish(run, repository, private=private, revision=revision, baseline=baseline))
