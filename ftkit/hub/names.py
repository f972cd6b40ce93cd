"""Which names are looked for on the Hub, and which revisions are commits."""

from __future__ import annotations

import os
import re
from glob import has_magic
from pathlib import Path

TABLES = (".parquet", ".csv", ".tsv", ".json", ".jsonl")
PREFIX = "embedded:"
POOLING = "1_Pooling/config.json"
"""Where sentence-transformers says how tokens become one vector."""


def is_hub_id(name: str) -> bool:
    """Return whether a name is looked for on the Hub: it is neither embedded nor like a path."""
    if "://" in name or has_magic(name):
        return False
    like_a_path = name.startswith((PREFIX, "/", ".", "~")) or Path(name).suffix in TABLES
    return not (like_a_path or os.path.exists(name))


def is_pinned(revision: str | None) -> bool:
    """Return whether a revision is a commit, as `pin` leaves it for what is on the Hub."""
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None
