"""Attack ftkit as odd rows, damage, full disks and strangers do, and print each try that it fails.

    python scripts/attack.py                 # all, two at once, offline
    python scripts/attack.py damage names    # some kinds
    python scripts/attack.py --every 6       # a sixth of each kind, as the test suite does
    python scripts/attack.py --only 'damage/predict/*' --keep /tmp/attacks

A try is one command in a folder of its own. It fails where the command ends with a traceback, takes
longer than 60 s, gives another exit status than it must, leaves a secret in a file or in what it
prints, or loses a file that was there; some tries look closer. Exit status 1 where one failed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from attacks import KINDS, Try, World
from attacks.commands import carry_out, warm


def main() -> int:
    """Carry out the tries that the arguments choose and return the exit status."""
    asked = arguments()
    began = time.monotonic()
    root = asked.keep or Path(tempfile.mkdtemp(prefix="ftkit-attack-"))
    root.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / "tries", ignore_errors=True)  # of an earlier call with this --keep
    warm()
    world = World.build(root / "world")
    tries = chosen(world, asked.kinds, asked.every, asked.only)
    print(f"{len(tries)} tries, {time.monotonic() - began:.0f} s to make ready", flush=True)
    failed, kept = 0, asked.keep is not None
    for judged in carry_out(tries, root / "tries", asked.at_once, asked.limit, keep=kept):
        failed += bool(judged.faults)
        for fault in judged.faults:
            print(f"FAILED {judged.name}: {fault}", flush=True)
        if asked.verbose and not judged.faults:
            print(f"held   {judged.name} ({judged.outcome.seconds:.1f} s)", flush=True)
    kinds = Counter(one.kind for one in tries)
    print(", ".join(f"{kind} {count}" for kind, count in kinds.items()))
    print(f"{len(tries)} tries, {failed} failed, {time.monotonic() - began:.0f} s")
    if asked.keep is None:
        shutil.rmtree(root, ignore_errors=True)
    return int(failed > 0)


def chosen(world: World, kinds: list[str], every: int, only: str | None) -> list[Try]:
    """Return the tries of these kinds, a share of each, whose name fits the pattern."""
    found = []
    for kind, make in KINDS.items():
        if not kinds or kind in kinds:
            there = list(make(world))
            found += random.Random(0).sample(there, -(-len(there) // every))
    return [one for one in found if only is None or fnmatch(one.name, only)]


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], default=[])
    parser.add_argument("--every", type=int, default=1, help="one of so many of each kind")
    parser.add_argument("--only", help="a pattern of names")
    parser.add_argument("--at-once", type=int, default=2, help="tries at the same time")
    parser.add_argument("--limit", type=float, default=60, help="seconds that no try may take")
    parser.add_argument("--keep", type=Path, help="folder to leave everything in")
    parser.add_argument("--verbose", action="store_true", help="print each try that holds too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
