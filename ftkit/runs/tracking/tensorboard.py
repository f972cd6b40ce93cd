"""TensorBoard: event files in the run folder, tracking/tensorboard."""

from __future__ import annotations

from typing import Any

from ftkit.runs.tracking.tracker import About, End, Final, Lines, Tracker

FOLDER = "tracking/tensorboard"


class TensorBoard(Tracker):
    """See the head of this file."""

    name = "tensorboard"

    def begin(self, about: About, known: str | None) -> str:
        """Open a new event file; those of earlier sessions stay beside it."""
        from torch.utils.tensorboard import SummaryWriter

        self.about, folder = about, about.folder / FOLDER
        self.goes_on = known is not None and any(folder.glob("events.*"))
        self.writer: Any = SummaryWriter(str(folder))
        if not self.goes_on:
            rows = [f"| {name} | {_cell(value)} |" for name, value in about.settings.items()]
            table = "\n".join(["| setting | value |", "|---|---|", *rows])
            self.writer.add_text("settings", table, 0)
        return about.name

    def where(self) -> str:
        """Return in one line where the run lies and how it is looked at."""
        return f"{self.about.folder / FOLDER} (tensorboard --logdir {self.about.home})"

    def log(self, lines: Lines) -> None:
        """Write the figures of some steps, onto the disk."""
        for step, figures in lines:
            for name, value in figures.items():
                self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self, final: Final) -> None:
        """Write the final figures beside the settings, for the page HPARAMS, and the pictures."""
        import numpy as np
        from PIL import Image

        settings = {
            name: value if isinstance(value, (bool, int, float)) else str(value)
            for name, value in self.about.settings.items()
        }
        self.writer.add_hparams(settings, dict(final.figures), run_name=".", global_step=final.step)
        for picture in final.pictures:
            with Image.open(picture) as opened:
                pixels = np.asarray(opened.convert("RGB"))
            self.writer.add_image(f"plots/{picture.stem}", pixels, final.step, dataformats="HWC")

    def close(self, end: End) -> None:
        """Close the event file."""
        self.writer.close()


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")
