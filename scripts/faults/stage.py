"""A copy of a tree in which tests run in forks of a process that has imported torch and the rest.

The copy may be changed, and what its tests start sees the change, too. A fork imports ftkit anew:
in seconds, since the packages that ftkit needs are there already. The packages of Hugging Face read
their settings when they are imported, so the first fork tells what tests/conftest.py sets.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import signal
import socket
import socketserver
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHIPPED = (
    "ftkit", "recipes", "tests", "scripts", "docs", "README.md", "CONTRIBUTING.md",
    "pyproject.toml", "CHANGELOG.md", "LICENSE", "mkdocs.yml", ".ci", ".gitignore",
)  # fmt: skip


@dataclass
class Ran:
    """What came of some tests."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Of each test that passed, by its name."""
    failed: str | None = None
    """The first test that failed, or what else ended the run."""
    found: int = 0
    """How many tests were to be run."""
    late: bool = False
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """By test and file, the lines of ftkit that ran."""


class Stage:
    """A copy of a tree, ready to run its tests."""

    def __init__(self, tree: Path, root: Path) -> None:
        self.root, self.tree = root, root / "tree"
        self.caches, self.scratch = root / "caches", root / "scratch"
        for name in SHIPPED:
            there = tree / name
            if there.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
                shutil.copytree(there, self.tree / name, ignore=ignored)
            elif there.is_file():
                shutil.copy(there, self.tree / name)
        if (tree.parent / "shared").is_dir():
            (root / "shared").symlink_to((tree.parent / "shared").resolve())
        self.caches.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._prepare()

    def _prepare(self) -> None:
        """Import in this process what a test imports beside ftkit, with the settings of tests."""
        os.environ["PYTHONPATH"] = str(self.tree)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        told = self.root / "told.json"
        self._fork(lambda: _tell(self.tree, told), 600)
        found = json.loads(told.read_text(encoding="utf-8"))
        os.environ.update(found["environment"])
        for name in found["modules"]:
            with suppress(Exception):  # some can be imported in their own order alone
                importlib.import_module(name)
        importlib.import_module("pytest")
        gc.collect()
        gc.freeze()

    @contextmanager
    def changed(self, file: str, text: str) -> Iterator[None]:
        """Have another text in a file of the copy inside the block."""
        path = self.tree / file
        before = path.read_text(encoding="utf-8")
        try:
            _write(path, text)
            yield
        finally:
            _write(path, before)

    def run(
        self,
        files: Iterable[str],
        wanted: Mapping[str, float] | None,
        limit: float,
        cover: bool = False,
    ) -> Ran:
        """Run tests until the first fails, or all of them where their lines are to be known.

        Args:
            files: from the root of the tree.
            wanted: the tests to run, the lower its number the sooner; all where it is None.
            limit: in seconds, after which they are killed.
        """
        told = self.root / "ran.jsonl"
        told.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        words = ["-o", "addopts=", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        words += ["-m", "not two_hosts", f"--basetemp={self.scratch}", *files]
        words += [] if cover else ["-x"]

        def work() -> int:
            import pytest

            watcher = _Watcher(told, wanted, self.tree if cover else None)
            return int(pytest.main(words, plugins=[watcher]))

        status = self._fork(work, limit)
        ran = Ran(late=status is None)
        for line in told.read_text(encoding="utf-8").splitlines() if told.is_file() else ():
            entry = json.loads(line)
            if "found" in entry:
                ran.found = entry["found"]
            elif "lines" in entry:
                ran.lines[entry["test"]] = entry["lines"]
            elif entry["outcome"] == "failed":
                ran.failed = ran.failed or entry["test"]
            else:
                ran.seconds[entry["test"]] = ran.seconds.get(entry["test"], 0) + entry["seconds"]
        if status not in (0, 5, None) and ran.failed is None:
            ran.failed = f"pytest ended with status {status}"
        shutil.rmtree(self.caches, ignore_errors=True)
        self.caches.mkdir()
        return ran

    def _fork(self, work: Callable[[], int], limit: float) -> int | None:
        """Return the exit status of `work` in a fork, or None where it took too long."""
        child = os.fork()
        if child == 0:
            ended = 70
            try:
                os.setsid()
                os.chdir(self.tree)
                output = os.open(self.root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(output, 1)
                os.dup2(output, 2)
                sys.path[:0] = [str(self.tree)]
                self._fix_places()
                ended = work()
            finally:
                with suppress(Exception):
                    sys.stdout.flush()
                os._exit(ended)
        ends = time.monotonic() + limit
        status: int | None = None
        while status is None and time.monotonic() < ends:
            done, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if done else None
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # also what it has started and left
        if status is None:
            os.waitpid(child, 0)
        return status

    def _fix_places(self) -> None:
        """Give each fork the same caches, and its Hub the same port: both are read at imports."""
        make, bind = tempfile.mkdtemp, socketserver.TCPServer.server_bind
        caches, port = self.caches, self.port

        def mkdtemp(suffix: Any = None, prefix: Any = None, dir: Any = None) -> Any:
            return str(caches) if prefix == "ftkit-tests-" else make(suffix, prefix, dir)

        def server_bind(server: socketserver.TCPServer) -> None:
            if server.server_address == ("127.0.0.1", 0):
                setattr(socketserver.TCPServer, "server_bind", bind)  # noqa: B010
                server.server_address = ("127.0.0.1", port)
            bind(server)

        tempfile.mkdtemp = mkdtemp
        setattr(socketserver.TCPServer, "server_bind", server_bind)  # noqa: B010 - mypy refuses it


def _write(path: Path, text: str) -> None:
    """Write a file of Python, and remove what was compiled of it.

    Of a text of the same second and of the same length that would seem to be current.
    """
    path.write_text(text, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def _tell(tree: Path, told: Path) -> int:
    """Write what tests/conftest.py puts into the environment, and which modules are imported."""
    before = dict(os.environ)
    sys.path[:0] = [str(tree / "tests")]
    importlib.import_module("conftest")
    environment = {k: v for k, v in os.environ.items() if before.get(k) != v}
    for path in sorted((tree / "ftkit").rglob("*.py")):
        if path.stem not in {"__main__", "reload"}:
            name = ".".join(path.relative_to(tree).with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))
    for name in ("transformers.trainer", "transformers.pipelines", "torchvision.transforms.v2"):
        importlib.import_module(name)
    own = {"ftkit", "recipes", "conftest", "hub_server", "checkpoints", "__main__", "faults"}
    modules = [name for name in sys.modules if name.split(".")[0] not in own]
    content = {"environment": environment, "modules": modules}
    told.write_text(json.dumps(content), encoding="utf-8")
    return 0


class _Watcher:
    """A plugin of pytest: runs the wanted tests, and writes down what comes of each."""

    def __init__(self, told: Path, wanted: Mapping[str, float] | None, cover: Path | None) -> None:
        self.told, self.wanted = told, wanted
        self.coverage: Any = None
        self.product = None if cover is None else cover / "ftkit"
        if self.product is not None:
            coverage = importlib.import_module("coverage")
            self.coverage = coverage.Coverage(data_file=None, include=[f"{self.product}/*"])
            self.coverage.start()

    def write(self, entry: dict[str, Any]) -> None:
        with self.told.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.wanted is not None:
            order = self.wanted
            items[:] = [item for item in items if item.nodeid in order]
            items.sort(key=lambda item: order[item.nodeid])
        self.write({"found": len(items)})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.coverage is not None:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        outcome = "failed" if report.failed else report.outcome
        self.write({"test": report.nodeid, "outcome": outcome, "seconds": report.duration})

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.write({"test": f"import of {report.nodeid}", "outcome": "failed", "seconds": 0})

    def pytest_sessionfinish(self) -> None:
        if self.coverage is None or self.product is None:
            return
        self.coverage.stop()
        data = self.coverage.get_data()
        by_test: dict[str, dict[str, list[int]]] = {}
        for file in data.measured_files():
            name = Path(file).relative_to(self.product.parent).as_posix()
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    by_test.setdefault(test, {}).setdefault(name, []).append(line)
        for test, lines in by_test.items():
            self.write({"test": test, "lines": lines})
