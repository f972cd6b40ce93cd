"""Tries of each kind, for scripts/attack.py."""

from attacks import damage, folders, names, output, reports, rows, strangers, wrong_requests
from attacks.commands import Judged, Outcome, Try, carry_out, warm
from attacks.shared_files import World

KINDS = {
    "rows": rows.tries,
    "damage": damage.tries,
    "output": output.tries,
    "asked": wrong_requests.tries,
    "folders": folders.tries,
    "strangers": strangers.tries,
    "names": names.tries,
    "reports": reports.tries,
}
"""What gives the tries of a kind in a world."""

__all__ = ["KINDS", "Judged", "Outcome", "Try", "World", "carry_out", "warm"]
