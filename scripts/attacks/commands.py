"""Where tries are carried out: a folder, a process and a judge for each.

Importing torch and transformers takes longer than most commands, so this process imports them once
and each command runs in a fork of it, with its own folder, environment, stdin, stdout and stderr.
What is about how a process starts (a foreign folder, a closed stream) runs in a fresh one.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

WARNING = re.compile(rb"^\S*site-packages\S*:\d+: \w*Warning", re.M)
ESCAPES = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""Control characters but tab and line feed, which no command may print."""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int | None
    """None where it was ended for taking too long; negative where a signal ended it."""
    out: bytes
    err: bytes
    seconds: float

    @property
    def said(self) -> str:
        """Both streams as text."""
        return (self.out + self.err).decode("utf-8", "replace")


Lay = Callable[[Path], object]
"""Lays what a command finds in its folder."""
Look = Callable[[Path, Outcome], str | None]
"""A closer look at the folder and the outcome: what is wrong, or None."""


@dataclass(frozen=True)
class Try:
    """One command in a folder of its own, and what must come of it."""

    name: str
    """kind/what/how."""
    words: tuple[str, ...]
    """After `ftkit`."""
    prepare: Lay = lambda folder: None
    statuses: tuple[int, ...] = (0,)
    secrets: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    """What both streams together must tell."""
    never: tuple[str, ...] = ()
    """What they must not."""
    look: Look | None = None
    environment: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    shell: str | None = None
    """A line of bash in place of a fork; $FTKIT is the command's beginning."""
    verified: bool = False
    """Whether a training reloads its model in a fresh process, which takes most of its time."""
    may_write: tuple[str, ...] = ()
    """Patterns of files in the folder that the command may change."""

    @property
    def kind(self) -> str:
        """The first part of its name."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Judged:
    """A try, and what is wrong with what came of it."""

    name: str
    outcome: Outcome
    faults: tuple[str, ...]


def warm() -> None:
    """Import what commands import, and read nothing else: forks begin from here."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "FTKIT_PRECISION": "fp32"}
    for name in ("PIL.Image", "scipy.optimize", "scipy.stats", "matplotlib.pyplot", "recipes"):
        importlib.import_module(name)
    for name in ("cli.main", "compare.report", "prediction.predict", "publishing.push"):
        importlib.import_module(f"ftkit.{name}")
    for name in ("planning.check", "planning.sweep", "training.perceptron_fit"):
        importlib.import_module(f"ftkit.{name}")


def carry_out(
    tries: Iterable[Try], root: Path, at_once: int, seconds: float, keep: bool = False
) -> Iterator[Judged]:
    """Carry out the tries, some at the same time, and give each with its faults as it ends.

    Args:
        seconds: after which a command counts as hung.
    """
    waiting = list(tries)[::-1]
    running: list[Running] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(Running(waiting.pop(), root, seconds))
        time.sleep(0.005)
        for one in [one for one in running if one.over()]:
            running.remove(one)
            yield one.judged()
            if not keep:
                shutil.rmtree(one.folder, ignore_errors=True)


def run_command(words: Iterable[str], folder: Path) -> None:
    """Run a command in a fork and wait for it; for what must be there before any try."""
    one = Try("ready", tuple(words))
    running = Running(one, folder, 600, fresh=False)
    while not running.over():
        time.sleep(0.01)
    if running.outcome.status != 0:
        raise RuntimeError(f"{' '.join(one.words)}: {running.outcome.said}")


class Running:
    """A try while its command runs."""

    def __init__(self, what: Try, root: Path, limit: float, fresh: bool = True) -> None:
        self.what, self.limit = what, limit
        self.folder = root / re.sub(r"[^\w.-]+", "-", what.name) if fresh else root
        self.folder.mkdir(parents=True, exist_ok=True)
        self.streams = self.folder.parent / f"{self.folder.name}.streams"
        self.streams.mkdir(exist_ok=True)
        (self.streams / "stdin").write_bytes(what.stdin)
        what.prepare(self.folder)
        self.before = contents(self.folder)
        self.outcome = Outcome(None, b"", b"", 0.0)
        self.began = time.monotonic()
        self.process = self._fork() if what.shell is None else self._start(what.shell)

    def over(self) -> bool:
        """Return whether the command has ended; end it where it takes too long."""
        seconds = time.monotonic() - self.began
        gone, status = os.waitpid(self.process, os.WNOHANG)
        if not gone and seconds < self.limit:
            return False
        if not gone:
            os.killpg(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        out, err = ((self.streams / name).read_bytes() for name in ("stdout", "stderr"))
        ended = os.waitstatus_to_exitcode(status) if gone else None
        self.outcome = Outcome(ended, out, err, seconds)
        return True

    def judged(self) -> Judged:
        """Return what is wrong with the outcome."""
        found = tuple(faults(self.what, self.folder, self.before, self.outcome))
        shutil.rmtree(self.streams, ignore_errors=True)
        return Judged(self.what.name, self.outcome, found)

    def _fork(self) -> int:
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            os.setpgid(0, 0)
            for number, name, mode in (
                (0, "stdin", "rb"),
                (1, "stdout", "wb"),
                (2, "stderr", "wb"),
            ):
                with (self.streams / name).open(mode) as stream:
                    os.dup2(stream.fileno(), number)
            sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
            sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
            os.chdir(self.folder)
            os.environ |= self.what.environment
            sys.argv = ["ftkit", *self.what.words]
            if not self.what.verified:
                _leave_unverified()
            status = _enter()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _start(self, line: str) -> int:
        with (
            (self.streams / "stdin").open("rb") as stdin,
            (self.streams / "stdout").open("wb") as out,
            (self.streams / "stderr").open("wb") as err,
        ):
            ftkit = f"{sys.executable} -m ftkit.cli"
            environment = os.environ | {"FTKIT": ftkit} | self.what.environment
            return subprocess.Popen(
                ["bash", "-c", line],
                stdin=stdin,
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            ).pid


def _leave_unverified() -> None:
    import ftkit.cli.train
    import ftkit.finetuning.finetune
    from ftkit.finetuning.verify import Verified

    ftkit.finetuning.finetune.verify = lambda *_: Verified(rows=0, latency_seconds=None)
    for module in (ftkit.finetuning.finetune, ftkit.cli.train):
        setattr(module, "fresh_reader", lambda _: nullcontext())  # noqa: B010 - of another type


def _enter() -> int:
    from ftkit.cli.main import main

    try:
        return main() or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def faults(what: Try, folder: Path, before: dict[str, str], outcome: Outcome) -> Iterator[str]:
    """Give what is wrong with an outcome, a line for each."""
    said, last = outcome.said, " ".join(outcome.said.split())[-300:]
    if outcome.status is None:
        yield f"hung for {outcome.seconds:.0f} s"
    elif outcome.status not in what.statuses:
        yield f"status {outcome.status}, expected {what.statuses}: {last}"
    if "Traceback (most recent call last)" in said or "Exception ignored" in said:
        yield f"traceback: {last}"
    if WARNING.search(outcome.err):
        yield f"a library's warning: {last}"
    if found := ESCAPES.search(outcome.out + outcome.err):
        yield f"control character {found[0]!r} printed"
    if outcome.status == 2 and len(re.findall(rb"^error", outcome.err, re.M)) != 1:
        yield f"not one line that begins with error: {last}"
    for part in what.says:
        if part not in said:
            yield f"does not say {part!r}: {last}"
    for part in what.never:
        if part in said:
            yield f"says {part!r}: {last}"
    for secret in what.secrets:
        if secret in said:
            yield f"prints the secret {secret!r}: {last}"
        yield from (f"the secret {secret!r} is in {file}" for file in holding(secret, folder))
    after = contents(folder)
    for file, digest in before.items():
        if after.get(file) != digest and not any(fnmatch(file, p) for p in what.may_write):
            yield f"{file} was {'lost' if file not in after else 'changed'}"
    if what.look is not None and (wrong := what.look(folder, outcome)):
        yield wrong


def contents(folder: Path) -> dict[str, str]:
    """Return {path: digest} of every file below a folder."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
            found[str(file.relative_to(folder))] = digest
    return found


def holding(secret: str, folder: Path) -> list[str]:
    """Return the files below a folder, and in ftkit's cache, that have these characters in them."""
    roots: list[Any] = [folder, os.environ.get("FTKIT_CACHE")]
    return [
        str(file)
        for root in filter(None, roots)
        for file in Path(root).rglob("*")
        if file.is_file() and secret.encode() in file.read_bytes()
    ]
