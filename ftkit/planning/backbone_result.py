"""What a search among backbones found: `BackboneSearch`, with an entry for each candidate."""

from __future__ import annotations

from dataclasses import dataclass

from ftkit.compare.paired_tests import PairedTests
from ftkit.planning.backbone_candidates import Candidate
from ftkit.runs.result import Measured


@dataclass(frozen=True)
class Probed:
    """What was found out about one candidate."""

    candidate: Candidate
    rows: int
    """Rows that it was judged by, when it was judged last."""
    score: Measured
    """The first figure of the task on these rows, each told by a probe that did not see it."""
    seconds_per_row: float
    parameters: int
    model_bytes: int
    first: float
    """Its figure in the first round, in which all candidates had the same rows."""
    finalist: bool


@dataclass(frozen=True)
class BackboneSearch:
    """What a search found: the finalists from the best on, then those that were left earlier."""

    figure: str
    probed: tuple[Probed, ...]
    tests: PairedTests
    """Of the finalists, by the names of their candidates."""
    first_rows: int
    """Rows of the first round."""
    available: int
    """Training rows that there are."""
    refused: tuple[str, ...]
    """Why some backbones were not tried."""
    seconds: float
    """That the search took."""
    exhaustive: float
    """Seconds that the backbones alone would take with all rows, as far as this search can tell."""

    @property
    def chosen(self) -> Probed:
        """The best finalist; of equals the quickest."""
        return self.probed[0]
