"""Weights & Biases: offline in the run folder, tracking/wandb, unless the environment says else.

It goes online where WANDB_API_KEY is set, and WANDB_MODE decides where that is set. Nobody is asked
for anything: it sees no terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from ftkit.runs.tracking.tracker import PROJECT, About, End, Final, Lines, Tracker

FOLDER = "tracking"
FINISH_SECONDS = 60.0
"""So long an online run may take to upload what is left of it; `wandb sync` sends the rest."""


class Wandb(Tracker):
    """See the head of this file."""

    name = "wandb"

    def begin(self, about: About, known: str | None) -> str:
        """Open the run: online the one that is there, offline a new file of it with all lines."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        usual = "online" if os.environ.get("WANDB_API_KEY") else "offline"
        self.mode = os.environ.get("WANDB_MODE") or usual
        folder = about.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for earlier in (folder / "wandb").glob(f"offline-run-*-{known}") if known else ():
            shutil.rmtree(earlier)
        settings = wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            finish_timeout=FINISH_SECONDS,
            x_disable_machine_info=True,  # it holds the command line, and that may hold secrets
        )
        with _no_terminal():
            self.run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                dir=str(folder),
                id=known,
                name=about.name,
                group=about.group,
                config=dict(about.settings),
                mode=cast(Any, self.mode),
                resume="allow" if self.mode == "online" else None,
                settings=settings,
            )
        self.goes_on = bool(self.run.resumed)
        self.folder, self.defined = folder / "wandb", set[str]()
        return str(self.run.id)

    def where(self) -> str:
        """Return in one line where the run lies and how it is looked at."""
        if self.mode == "offline":
            return f"offline in {self.folder} (wandb sync {self.folder}/offline-run-*)"
        return str(self.run.url or self.mode)

    def log(self, lines: Lines) -> None:
        """Keep the figures of some steps.

        W&B's own steps must rise; those of a run with several stages begin again with each. So the
        step is a figure too, and the axis of the others.
        """
        for step, figures in lines:
            stage = next(iter(figures)).rpartition("/")[0]
            axis = f"{stage}/step" if stage else "step"
            for name in figures.keys() - self.defined:
                self.run.define_metric(name, step_metric=axis)
            self.defined |= figures.keys()
            self.run.log({axis: step, **figures})

    def finish(self, final: Final) -> None:
        """Keep the final figures in the summary, and the pictures."""
        import wandb

        if final.pictures:
            shown = {f"plots/{file.stem}": wandb.Image(str(file)) for file in final.pictures}
            self.run.log(shown)
        self.run.summary.update(dict(final.figures))

    def close(self, end: End) -> None:
        """Close the run, and end W&B's own process where it serves no other run."""
        import wandb

        self.run.finish(exit_code=0 if end == "finished" else 1)
        if wandb.run is None:  # at the end of this one, as Ray ends them, it may be gone already
            wandb.teardown()


@contextmanager
def _no_terminal() -> Iterator[None]:
    """Let nobody be asked for a key inside the block: standard input is empty."""
    before = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = before
