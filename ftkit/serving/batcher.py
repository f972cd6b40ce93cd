"""The queue: requests that wait when the model is free are answered together, in one batch.

Nothing waits for others to come: a request that finds the model free is answered at once, and while
it is, the next ones gather.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        self.came = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, "ftkit-model")

    async def submit(self, rows: Sequence[Any], pixels: int) -> list[Any]:
        """Return the answers to the rows of one request, when their turn has come.

        Raises:
            Refused: one of them cannot be answered.
        """
        job = Job(rows, pixels, asyncio.get_running_loop().create_future())
        self.waiting.append(job)
        self.came.set()
        answers = await job.answers
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer
        return answers

    async def run(self) -> None:
        """Answer jobs until this is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.came.wait()
            jobs = self._next()
            if not jobs:
                self.came.clear()
                continue
            began = time.perf_counter()
            found = await loop.run_in_executor(self.thread, self._answers, jobs)
            for job, answers in zip(jobs, found, strict=True):
                if job.answers.done():  # it took too long, and was told so
                    continue
                if isinstance(answers, Exception):
                    job.answers.set_exception(answers)
                else:
                    job.answers.set_result(answers)
            seconds = time.perf_counter() - began
            self.saw(len(jobs), sum(len(job.rows) for job in jobs), seconds)

    def _next(self) -> list[Job]:
        """Return the jobs that have waited longest and fit into one batch."""
        jobs: list[Job] = []
        rows = pixels = 0
        while self.waiting:
            job = self.waiting[0]
            if job.answers.done():  # nobody waits for it any more
                self.waiting.popleft()
                continue
            rows, pixels = rows + len(job.rows), pixels + job.pixels
            if jobs and (rows > self.most_rows or pixels > MOST_PIXELS):
                break
            jobs.append(self.waiting.popleft())
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
