"""Time whole commands on an idle machine, beside busy neighbours, and within a quota of one core.

    python scripts/bench_shared.py [--rounds 5] [--conditions idle 1 4 one quota] [--only NAME ...]
                                   [--before TREE] [--json FILE]

Every command is a process of its own and is timed by the clock, from its start to its end. In a
round each command runs once under each condition, in turns with the same of another checkout
(--before) and with the stock Trainer; the table has medians. A neighbour counts without an end on
the same cores. `one` is one thread on one idle core, and `quota` as much time as one core has on
all of them, by Linux's control groups of version 1 or 2, for which one must be root. A fair
scheduler leaves a command with a thread for each of C cores the share C / (C + N) of them beside N
neighbours. The number in parentheses is how many times longer the command took than that share
explains.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench_common import busy_neighbours

ROOT = Path(__file__).resolve().parents[1]
FTKIT = [sys.executable, "-m", "ftkit.cli"]
COMMANDS = {
    "imports": [sys.executable, "-c", "import torch, transformers, datasets"],
    "head, new": [*FTKIT, "train", "effnet-digits", "--strategy", "head", "--out", "OUT"],
    "head, cached": [*FTKIT, "train", "effnet-digits", "--strategy", "head", "--out", "OUT"],
    "text head": [*FTKIT, "train", "minilm-langid", "--strategy", "head", "--out", "OUT"],
    "perceptron": [*FTKIT, "train", "mlp-digits", "--out", "OUT"],
    "compare": [
        *(*FTKIT, "compare", "effnet-digits", "--strategies", "majority,knn,mlp,head"),
        *("--out", "OUT"),
    ],
    "stock head": [
        *(sys.executable, "scripts/bench_finetune.py", "--worker", "stock"),
        *("--worker-strategy", "head", "--worker-epochs", "1"),
    ],
}
NEW = ("head, new", "text head", "compare")
"""Commands that find no features in the cache."""
QUOTA = {"cpu.cfs_quota_us": "100000", "cpu.max": "100000 100000"}
"""One core, as the files of either version say it."""
GROUPS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
STARTED = ("import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); "
           "os.execvp(sys.argv[2], sys.argv[2:])")  # fmt: skip


def main() -> None:
    """Measure, print a table and write JSON."""
    options = parse()
    trees = {"": ROOT} | ({"before: ": options.before.resolve()} if options.before else {})
    names = options.only or list(COMMANDS)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        caches = {
            tree: prepare(tree, Path(scratch) / f"cache{number}", names)
            for number, tree in enumerate(trees.values())
        }
        for number in range(options.rounds):
            for condition in options.conditions:
                with surroundings(condition) as group:
                    for name in names:
                        for which, tree in trees.items():
                            if which and name in ("imports", "stock head"):
                                continue
                            alone = condition == "one"
                            took = timed(name, tree, caches[tree], Path(scratch), group, alone)
                            seconds[which + name, condition].append(took)
                            print(f"{number} {condition} {which}{name}: {took:.1f} s", flush=True)
    table(seconds, options.conditions)
    if options.json:
        found = {f"{name} | {where}": each for (name, where), each in seconds.items()}
        Path(options.json).write_text(json.dumps(found, indent=2))


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--conditions", nargs="+", default=["idle", "1", "4", "one", "quota"],
                        choices=["idle", "1", "2", "4", "8", "one", "quota"])  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS))
    parser.add_argument("--before", type=Path, help="another checkout of ftkit")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def prepare(tree: Path, cache: Path, names: list[str]) -> Path:
    """Return a cache in which the commands of a tree have left all that they keep."""
    for name in names:
        if name not in ("imports", "stock head"):
            timed(name, tree, cache, cache.parent, None)
    return cache


def timed(
    name: str, tree: Path, cache: Path, scratch: Path, group: Path | None, alone: bool = False
) -> float:
    """Return the seconds of one command by the clock, `alone` in one thread on one core."""
    out = scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    if name in NEW:
        shutil.rmtree(cache / "features", ignore_errors=True)
    command = [str(out) if word == "OUT" else word for word in COMMANDS[name]]
    if group is not None:  # a process joins a group by its number, before it does anything
        command = [sys.executable, "-c", STARTED, str(group / "cgroup.procs"), *command]
    environment = os.environ | {"PYTHONPATH": str(tree), "FTKIT_CACHE": str(cache)}
    if alone:
        core = min(os.sched_getaffinity(0))
        command = ["taskset", "-c", str(core), *command]
        environment["OMP_NUM_THREADS"] = "1"
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return took


@contextmanager
def surroundings(condition: str) -> Iterator[Path | None]:
    """Have so many neighbours, or yield a control group with a quota of one core."""
    with ExitStack() as stack:
        if condition == "quota":
            yield stack.enter_context(quota())
            return
        stack.enter_context(busy_neighbours(int(condition) if condition.isdecimal() else 0))
        yield None


@contextmanager
def quota() -> Iterator[Path]:
    """Make a control group of one core."""
    for root in GROUPS:
        group = root / f"ftkit-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            file = next((file for file in QUOTA if (group / file).exists()), None)
            if file is not None:
                (group / file).write_text(QUOTA[file])
                yield group
                return
        finally:
            group.rmdir()
    sys.exit("quota: no control group can be made here; leave it out by --conditions idle 1 4")


def table(seconds: dict[tuple[str, str], list[float]], conditions: list[str]) -> None:
    """Print medians, and how they stand to the idle ones."""
    cores = len(os.sched_getaffinity(0))
    print(f"\n{cores} cores; median seconds (times what a fair share of the cores explains)")
    print("| command |" + "".join(f" {condition} |" for condition in conditions))
    print("|---|" + "---|" * len(conditions))
    for name in dict.fromkeys(name for name, _ in seconds):
        idle, cells = seconds.get((name, "idle")), ""
        for condition in conditions:
            middle = statistics.median(seconds[name, condition])
            cells += f" {middle:.1f}"
            if idle and condition.isdecimal():
                fair = (cores + int(condition)) / cores
                cells += f" ({middle / statistics.median(idle) / fair:.2f})"
            if condition == "quota" and (name, "one") in seconds:
                cells += f" ({middle / statistics.median(seconds[name, 'one']):.2f} of one)"
            cells += " |"
        print(f"| {name} |{cells}")


if __name__ == "__main__":
    main()
