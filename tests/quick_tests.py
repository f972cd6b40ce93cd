"""Run what a change may have broken, for a minute at most: `bash scripts/test.sh --quick`.

    python tests/quick_tests.py            # what differs from main, or is not committed
    python tests/quick_tests.py HEAD~3     # what differs from another commit
    python tests/quick_tests.py --list     # say the files in their order, and run nothing

Style and types come first. Of the tests, those come first that changed themselves, then those that
import a changed file, then those that import a file that imports it, and so on; a few tests of the
whole way come along always. When the minute is over no test is started any more, and what was left
out is said. The whole suite, `bash scripts/test.sh`, is what a commit needs.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60.0
MOST_FILES = 40
"""Of tests, so that the minute does not go by with reading them."""
LAST_START = 45.0
"""Seconds after which no test is started: the longest that are left take some ten."""
SMOKE = ("test_layers", "test_recipe", "test_cli", "test_finetune", "test_predict")
TOO_LONG = ("test_attack", "test_hub_roundtrip", "test_readme", "test_sweep_ray", "test_wheel")
"""Whose single tests take half a minute and more; each is run by its own name."""
NEEDS_ALL = ("pyproject.toml", "tests/conftest.py")


def main() -> int:
    """Check and test what changed and return the exit status."""
    began = time.time()
    asked = arguments()
    changed = changed_files(asked.since)
    order = tests_of(changed)
    nearest = list(order)[:MOST_FILES]
    print(f"{len(changed)} changed files touch {len(order)} files of tests")
    if asked.list:
        print("\n".join(f"{distance}  {test}" for test, distance in order.items()))
        return 0
    types = subprocess.Popen(["mypy"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    styles = [["ruff", "check", "."], ["ruff", "format", "--check", "--quiet", "."]]
    failed = [words for words in styles if subprocess.run(words, cwd=ROOT).returncode]
    left_out = LeftOut()
    os.environ["FTKIT_NO_TEST_AFTER"] = str(began + LAST_START)
    words = ["--numprocesses=2", "--dist=load", "--maxschedchunk=2", "--durations=5", *nearest]
    status = int(pytest.main(words, plugins=[left_out]))
    try:
        print(types.communicate(timeout=max(1.0, began + SECONDS - time.time()))[0], end="")
    except subprocess.TimeoutExpired:
        types.kill()
        print("mypy was left out: it had not ended")
    left_out.tell(order)
    print(f"{time.time() - began:.0f} s")
    none = not left_out.ran
    return int(status != 0 or none or bool(failed) or types.returncode not in (0, -9))


def changed_files(since: str | None) -> list[str]:
    """Return the files that differ from a commit, or are not tracked, as paths from the root."""
    if since is None:
        since = _git("merge-base", "HEAD", "main") or "HEAD"
    files = _git("diff", "--name-only", since) + "\n"
    files += _git("ls-files", "--others", "--exclude-standard")
    return sorted({file for file in files.splitlines() if file})


def tests_of(changed: list[str]) -> dict[str, float]:
    """Return files of tests, nearest to the change first, with how many imports lie between.

    A test that is called like a changed file is as near as one that imports it; the tests of the
    whole way come next.
    """
    users = _users()
    distances = {module: 0.0 for module in map(_module, changed) if module in users}
    border = list(distances)
    while border:
        reached = {user for module in border for user in users[module]} - distances.keys()
        distances |= dict.fromkeys(reached, distances[border[0]] + 1)
        border = sorted(reached)
    touched = {part for file in changed for part in _module(file).split(".")}
    tests = [name for name in users if name.startswith("tests.test_")]
    far = 1 + max(distances.values(), default=0)
    order = {}
    for name in tests:
        short = name.removeprefix("tests.")
        if short in TOO_LONG:
            continue
        same = short.removeprefix("test_") in touched
        if same or short in SMOKE:
            near = min(distances.get(name, far), 1 if same else 1.5)
        elif any(file in NEEDS_ALL for file in changed):
            near = distances.get(name, far)
        elif name in distances:
            near = distances[name]
        else:
            continue
        order[f"tests/{short}.py"] = (near, not same)
    return {test: near for test, (near, _) in sorted(order.items(), key=lambda one: one[1])}


def _users() -> dict[str, set[str]]:
    """Return which modules of this repository name each one, in an import or in a text."""
    files = _git("ls-files", "--cached", "--others", "--exclude-standard", "*.py").splitlines()
    there = {_module(file): ROOT / file for file in files if (ROOT / file).exists()}
    users: dict[str, set[str]] = {module: set() for module in there}
    # imported by the name of their kind: who says ImageTagging uses ftkit/tasks/image_tagging.py
    kinds = {
        module.rpartition(".")[2].title().replace("_", ""): module
        for module in there
        if module.startswith(("ftkit.tasks.", "ftkit.strategies."))
    }
    for module, file in there.items():
        for name in _named(file.read_text(encoding="utf-8")):
            for whole in (name, f"tests.{name}", kinds.get(name, "")):
                if whole in users and whole != module:
                    users[whole].add(module)
    return users


def _named(text: str) -> Iterable[str]:
    """Give the modules that a file imports, or names as monkeypatch does, and their packages."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in re.findall(r"\bftkit(?:\.\w+)+", node.value):
                parts = name.split(".")
                yield from (".".join(parts[:end]) for end in range(2, len(parts) + 1))


def _module(file: str) -> str:
    """Return the dotted name of a file: that of its folder for an __init__.py."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


class LeftOut:
    """Counts the tests that were not started, by file."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once."""
        file = report.nodeid.partition("::")[0]
        if (
            report.when == "setup"
            and report.skipped
            and "the minute is over" in str(report.longrepr)
        ):
            self.left[file] += 1
        elif report.when == "setup":
            self.ran[file] += 1

    def tell(self, order: Iterable[str]) -> None:
        """Print what was run and what was not."""
        ran = [file for file in order if self.ran[file]]
        print(f"ran {self.ran.total()} tests of {len(ran)} files: {_names(ran)}")
        left = [file for file in order if self.left[file] or not self.ran[file]]
        near = left[:MOST_FILES]
        if left:
            print(f"left out, in whole or in part: {_names(near)}")
        if left != near:
            print(f"left out, and further from the change: {len(left) - len(near)} files more")
        print(f"never in a minute: {', '.join(TOO_LONG)}")


def _names(files: Iterable[str]) -> str:
    return ", ".join(Path(file).stem for file in files)


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("since", nargs="?", help="a commit to compare with")
    parser.add_argument("--list", action="store_true", help="run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
