"""Tries of each kind, for scripts/attack.py."""

from attacks import asked, damage, folders, names, output, reports, rows, strangers
from attacks.field import Judged, Outcome, Try, carry_out, warm
from attacks.world import World

KINDS = {
    "rows": rows.tries,
    "damage": damage.tries,
    "output": output.tries,
    "asked": asked.tries,
    "folders": folders.tries,
    "strangers": strangers.tries,
    "names": names.tries,
    "reports": reports.tries,
}
"""What gives the tries of a kind in a world."""

__all__ = ["KINDS", "Judged", "Outcome", "Try", "World", "carry_out", "warm"]
