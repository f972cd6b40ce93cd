"""tracking.json of a run folder: which run of a tracker it is, and what that run was given."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ftkit.machine.whole_files import write_whole

log = logging.getLogger(__name__)
FILE = "tracking.json"


@dataclass
class Known:
    """What is known of the run of one tracker."""

    id: str | None = None
    """The tracker's own name for the run."""
    lines: dict[str, int] = field(default_factory=dict)
    """So many lines of each log.jsonl it was given, by their paths in the run folder."""
    finished: bool = False
    """Whether it has the final figures."""


class Memory:
    """What a run folder remembers of its trackers. Only rank 0 has one."""

    def __init__(self, folder: Path) -> None:
        """Read it, or begin it."""
        self.file = folder / FILE
        self.known = _read(self.file)

    def of(self, tracker: str) -> Known:
        """Return what is known of the run of a tracker."""
        return self.known.setdefault(tracker, Known())

    def write(self) -> None:
        """Write tracking.json."""
        text = json.dumps({name: asdict(known) for name, known in self.known.items()}, indent=2)
        write_whole(self.file, text + "\n")


def _read(file: Path) -> dict[str, Known]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): Known(**known) for name, known in values.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read (%s): trackers begin new runs", file, error)
        return {}
