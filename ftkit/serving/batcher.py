"""The queue: requests that wait when the model is free are answered together, in one batch.

Nothing waits for others to come: a request that finds the model free is answered at once, and while
it is, the next ones gather. A thread of its own takes batch after batch, so that it is kept from
none while thousands of requests are refused: from one round of the event loop to the next it would
have to wait for all of these.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ftkit.serving.limits import Refused
from ftkit.serving.rows import MOST_PIXELS

log = logging.getLogger(__name__)


@dataclass
class Job:
    """The rows of one request, and where its answers go."""

    rows: Sequence[Any]
    pixels: int
    answers: asyncio.Future[list[Any]]
    loop: asyncio.AbstractEventLoop


class Batcher:
    """Collects jobs, and has them answered in one thread, batch after batch."""

    def __init__(
        self,
        answer: Callable[[Sequence[Any]], list[Any]],
        most_rows: int,
        saw: Callable[[int, int, float], None] = lambda jobs, rows, seconds: None,
    ) -> None:
        """Prepare the queue.

        Args:
            answer: returns for each row its answer, or a `Refused`.
            most_rows: of one batch, unless one job alone has more.
            saw: is told of each batch: its jobs, its rows, and the seconds it took.
        """
        self.answer, self.most_rows, self.saw = answer, most_rows, saw
        self.waiting: deque[Job] = deque()
        self.changed = threading.Condition()
        self.ended = False
        self.thread = threading.Thread(target=self._run, name="ftkit-model", daemon=True)

    def start(self) -> None:
        """Begin to answer jobs."""
        self.thread.start()

    def stop(self) -> None:
        """Answer the jobs that wait, and no others."""
        with self.changed:
            self.ended = True
            self.changed.notify()
        self.thread.join()

    async def submit(self, rows: Sequence[Any], pixels: int) -> list[Any]:
        """Return the answers to the rows of one request, when their turn has come.

        Raises:
            Refused: one of them cannot be answered.
        """
        loop = asyncio.get_running_loop()
        job = Job(rows, pixels, loop.create_future(), loop)
        with self.changed:
            self.waiting.append(job)
            self.changed.notify()
        answers = await job.answers
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer
        return answers

    def _run(self) -> None:
        while jobs := self._next():
            began = time.perf_counter()
            found = self._answers(jobs)
            self.saw(len(jobs), sum(len(job.rows) for job in jobs), time.perf_counter() - began)
            for job, answers in zip(jobs, found, strict=True):
                job.loop.call_soon_threadsafe(_deliver, job.answers, answers)

    def _next(self) -> list[Job]:
        """Return the jobs that have waited longest and fit into one batch; none at the end."""
        jobs: list[Job] = []
        rows = pixels = 0
        with self.changed:
            while not jobs:
                while not self.waiting:
                    if self.ended:
                        return []
                    self.changed.wait()
                while self.waiting:
                    job = self.waiting[0]
                    rows, pixels = rows + len(job.rows), pixels + job.pixels
                    if jobs and (rows > self.most_rows or pixels > MOST_PIXELS):
                        break
                    self.waiting.popleft()
                    if job.answers.done():  # it took too long, and nobody waits for it any more
                        rows, pixels = rows - len(job.rows), pixels - job.pixels
                    else:
                        jobs.append(job)
        return jobs

    def _answers(self, jobs: Sequence[Job]) -> list[list[Any] | Exception]:
        """Return the answers to each job; where the batch fails, each is asked alone."""
        try:
            found = self.answer([row for job in jobs for row in job.rows])
        except Exception as error:  # whatever the engine says of one row must not fail the others
            if len(jobs) == 1:
                return [error]
            log.warning("a batch of %d requests failed (%r); each is asked alone", len(jobs), error)
            return [one for job in jobs for one in self._answers([job])]
        parts: list[list[Any] | Exception] = []
        start = 0
        for job in jobs:
            parts.append(found[start : start + len(job.rows)])
            start += len(job.rows)
        return parts


def _deliver(answers: asyncio.Future[list[Any]], found: list[Any] | Exception) -> None:
    """Hand the answers to the request that waits for them, in its own thread."""
    if answers.done():  # it took too long, and was told so
        return
    if isinstance(found, Exception):
        answers.set_exception(found)
    else:
        answers.set_result(found)
