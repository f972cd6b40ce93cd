"""trackio: its own store on this machine (TRACKIO_DIR), project ftkit.

Where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL is set, trackio sends the run there instead.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from typing import Any

from ftkit.runs.tracking.tracker import PROJECT, About, End, Final, Lines, Tracker

ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class Trackio(Tracker):
    """See the head of this file."""

    name = "trackio"

    def begin(self, about: About, known: str | None) -> str:
        """Open the run: in the local store it is made anew, elsewhere it goes on."""
        import trackio

        self.elsewhere = next(filter(None, map(os.environ.get, ELSEWHERE)), None)
        self.goes_on = known is not None and self.elsewhere is not None
        if known is not None and not self.elsewhere:
            for run in [run for run in trackio.Api().runs(PROJECT) if run.id == known]:
                run.delete()
        with redirect_stdout(io.StringIO()):
            self.run: Any = trackio.init(
                project=PROJECT,
                name=about.name,
                group=about.group,
                config=dict(about.settings),
                resume="allow" if self.goes_on else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return str(self.run.id)

    def where(self) -> str:
        """Return in one line where the run lies and how it is looked at."""
        store = self.elsewhere or os.environ.get("TRACKIO_DIR") or "its own store"
        return f"project {PROJECT} in {store} (trackio show --project {PROJECT})"

    def log(self, lines: Lines) -> None:
        """Keep the figures of some steps."""
        for step, figures in lines:
            self.run.log(dict(figures), step=step)

    def finish(self, final: Final) -> None:
        """Keep the final figures and pictures."""
        import trackio

        shown = {f"plots/{file.stem}": trackio.Image(str(file)) for file in final.pictures}
        self.run.log({**final.figures, **shown}, step=final.step)

    def close(self, end: End) -> None:
        """Write what waits to be written."""
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()
        if not self.elsewhere and self.run.id not in {
            run.id for run in trackio.Api().runs(PROJECT)
        }:
            raise OSError("its store does not hold the run")  # trackio itself warns at most
