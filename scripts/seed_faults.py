"""Seed faults into ftkit, run the tests that cover each, and list the faults that no test notices.

    pip install coverage
    python scripts/seed_faults.py cover --map map.json                 # which test runs which line
    python scripts/seed_faults.py run --map map.json --json found.json # 200 faults of seed 0
    python scripts/seed_faults.py run --tree ../old --map old.json --list found.json

A fault is a small change of one line, see `faults.sites`. The same faults are sought in another
tree by the text of their lines, so that two suites can be compared. Tests run in one process, the
fastest first, until one fails; tests that fail without a fault are left out. A fault whose line no
mapped test runs is tried with the test files that name its module. Both
may be stopped, and go on with what is missing in the file that they write.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from faults import sites
from faults.sites import Fault, Site
from faults.stage import Ran, Stage

ROOT = Path(__file__).resolve().parents[1]
FIRST_TESTS, FIRST_FILES = 40, 5
"""How many tests a fault is tried with at first, and from how many files: each is imported anew."""


def main() -> int:
    """Map the tests, or try faults; return 0."""
    asked = arguments()
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        stage = Stage(asked.tree.resolve(), root)
        (cover if asked.what == "cover" else run)(stage, asked)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["cover", "run"])
    parser.add_argument("--tree", type=Path, default=ROOT, help="whose code and tests are used")
    parser.add_argument("--map", type=Path, help="which test runs which line; made by cover")
    parser.add_argument("--tests", nargs="+", help="cover: only these test files")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing after these")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", type=Path, help="the faults to try: a file that --json wrote")
    parser.add_argument("--json", type=Path, help="where the faults and their ends are written")
    parser.add_argument("--limit", type=float, default=120, help="seconds for one fault")
    return parser.parse_args()


class Map:
    """Which tests run which line, and how many seconds each takes."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        there = json.loads(file.read_text()) if file and file.is_file() else {}
        self.done: list[str] = there.get("done", [])
        self.names: list[str] = there.get("names", [])
        self.seconds: list[float] = there.get("seconds", [])
        self.lines: dict[str, dict[str, list[int]]] = there.get("lines", {})
        """By file and line, the numbers of the tests that run it."""

    def add(self, file: str, ran: Ran) -> None:
        """Take up what the tests of one file ran, and write it down."""
        self.done.append(file)
        for test, seconds in ran.seconds.items():
            for name, lines in ran.lines.get(test, {}).items():
                of_file = self.lines.setdefault(name, {})
                for line in lines:
                    of_file.setdefault(str(line), []).append(len(self.names))
            self.names.append(test)
            self.seconds.append(seconds)
        if self.file:
            content = {name: value for name, value in vars(self).items() if name != "file"}
            self.file.write_text(json.dumps(content))

    def covering(self, site: Site) -> list[str]:
        """Return the tests that run the lines of a fault, the fastest first."""
        of_file = self.lines.get(site.fault.file, {})
        lines = of_file if site.lines is None else map(str, site.lines)
        found = {test for line in lines for test in of_file.get(line, [])}
        return [self.names[test] for test in sorted(found, key=self.seconds.__getitem__)]


def cut(tests: list[str]) -> tuple[list[str], list[str]]:
    """Return (the tests to begin with, the rest)."""
    files = list(dict.fromkeys(map(file_of, tests)))[:FIRST_FILES]
    first = [test for test in tests if file_of(test) in files][:FIRST_TESTS]
    return first, [test for test in tests if test not in set(first)]


def file_of(test: str) -> str:
    """Return the file of a test."""
    return test.partition("::")[0]


def cover(stage: Stage, asked: argparse.Namespace) -> None:
    """Run the test files, each in a fork, and write which test runs which line."""
    known, ends = Map(asked.map), time.monotonic() + 60 * asked.minutes
    files = [path.relative_to(stage.tree) for path in sorted(stage.tree.glob("tests/test_*.py"))]
    for file in asked.tests or map(str, files):
        if file in known.done or time.monotonic() > ends:
            continue
        began = time.monotonic()
        ran = stage.run([file], None, 1800, cover=True)
        known.add(file, ran)
        told = f"; first failure: {ran.failed}" if ran.failed else ""
        seconds = time.monotonic() - began
        print(f"{file}: {len(ran.seconds)} tests, {seconds:.0f} s{told}", flush=True)


def run(stage: Stage, asked: argparse.Namespace) -> None:
    """Try the faults and print what came of them."""
    known, ends = Map(asked.map), time.monotonic() + 60 * asked.minutes
    chosen = sites.choose(stage.tree, asked.count, asked.seed)
    wanted = _listed(asked.list) if asked.list else chosen
    there = asked.json is not None and asked.json.is_file()
    results: list[dict[str, Any]] = json.loads(asked.json.read_text()) if there else []
    for number, fault in enumerate(wanted, 1):
        if time.monotonic() > ends:
            break
        if any(fault.as_json().items() <= result.items() for result in results):
            continue
        began = time.monotonic()
        outcome, why = judge(stage, known, fault, asked.limit)
        results.append(fault.as_json() | {"outcome": outcome, "by": why})
        seconds = time.monotonic() - began
        print(f"{number:3} {outcome:9} {seconds:4.0f} s {fault} ({why})", flush=True)
        if asked.json:
            asked.json.write_text(json.dumps(results, indent=1))
    summary(results)


def _listed(file: Path) -> list[Fault]:
    names = Fault.__dataclass_fields__
    entries = json.loads(file.read_text())
    return [Fault(**{name: entry[name] for name in names}) for entry in entries]


def judge(stage: Stage, known: Map, fault: Fault, limit: float) -> tuple[str, str]:
    """Return (what came of a fault, the test that noticed it or why none did)."""
    site = sites.find_again(stage.tree, fault)
    if site is None:
        return "not found", "no line with this text"
    survived = 0
    for tests in cut(known.covering(site)):
        if tests:
            files = list(dict.fromkeys(map(file_of, tests)))
            order = {test: float(number) for number, test in enumerate(tests)}
            with stage.changed(site.fault.file, sites.changed(stage.tree, site)):
                ran = stage.run(files, order, limit)
            survived += len(ran.seconds)
            if ran.failed:
                return "caught", ran.failed
            if ran.late:
                return "unsure", f"more than {limit:.0f} s after {survived} tests"
    others = [file for file in naming(stage.tree, site.fault.file) if file not in known.done]
    if others and not survived:
        with stage.changed(site.fault.file, sites.changed(stage.tree, site)):
            ran = stage.run(others, None, limit)
        if ran.failed and "::" not in ran.failed:
            return "caught", ran.failed
        if ran.failed:  # nobody has seen this test pass
            again = stage.run([file_of(ran.failed)], {ran.failed: 0}, limit)
            if again.failed or again.late:
                return "unsure", f"{ran.failed} fails without a fault, too"
            return "caught", ran.failed
        if ran.late:
            return "unsure", f"more than {limit:.0f} s of {', '.join(others)}"
        survived += len(ran.seconds)
    return ("survived" if survived else "untested"), f"{survived} tests"


def naming(tree: Path, file: str, most: int = 3) -> list[str]:
    """Return the test files that import a module by its name, the most telling first."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, stem = module.rpartition(".")
    found = {}
    for path in sorted(tree.glob("tests/test_*.py")):
        text = path.read_text(encoding="utf-8")
        often = text.count(module) + text.count(f"from {package} import {stem}")
        often += 5 * (path.stem == f"test_{stem}")
        if often:
            found[path.relative_to(tree).as_posix()] = often
    return sorted(found, key=lambda name: -found[name])[:most]


def summary(results: list[dict[str, Any]]) -> None:
    """Print the share of faults that were caught, by package and in all, and the survivors."""
    packages: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        packages[result["file"].split("/")[1]][result["outcome"]] += 1
    for name, counts in sorted(packages.items()):
        print(f"{name}: {', '.join(f'{outcome} {n}' for outcome, n in sorted(counts.items()))}")
    total = sum(packages.values(), Counter[str]())
    missed = total["survived"] + total["untested"]
    print(f"{total['caught']} of {total['caught'] + missed} faults caught; {total['survived']} ")
    print(
        f"survived, {total['untested']} have no test; not counted: {total['unsure']} whose tests "
    )
    print(f"took too long, {total['not found']} that are not in this tree")


if __name__ == "__main__":
    sys.exit(main())
