"""The service as an ASGI application: its addresses, and the way of a request through it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ftkit.exported.model import Exported
from ftkit.machine.threads import usable_cores
from ftkit.serving import pages
from ftkit.serving.asked import asked_of
from ftkit.serving.batcher import Batcher
from ftkit.serving.border import Border, Upload
from ftkit.serving.limits import Admission, Limits, Refused
from ftkit.serving.metrics import TYPE, Metrics
from ftkit.serving.openapi import openapi
from ftkit.serving.rows import Rows, joined
from ftkit.serving.told import body_of, told

log = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[Response]]
DRAIN_SECONDS = 5
"""A body that is refused unread is read for so long, and thrown away."""


@dataclass(frozen=True)
class Service:
    """An exported model, and what its requests share."""

    exported: Exported
    limits: Limits
    rows: Rows
    batcher: Batcher
    admission: Admission
    metrics: Metrics
    decoders: ThreadPoolExecutor

    @classmethod
    def of(cls, exported: Exported, limits: Limits, threads: int | None = None) -> Service:
        """Return the service of a model; `threads` decode images at the same time."""
        decoders = ThreadPoolExecutor(threads or usable_cores(), "ftkit-decode")
        rows = Rows(exported, limits, decoders)
        admission = Admission(limits)
        metrics = Metrics(lambda: admission.waiting)

        def saw(jobs: int, count: int, seconds: float) -> None:
            metrics.batch(count, seconds)
            admission.saw(jobs, seconds)

        batcher = Batcher(rows.answer, rows.most, saw)
        return cls(exported, limits, rows, batcher, admission, metrics, decoders)

    async def answer(self, request: Request, upload: Upload) -> bytes:
        """Return the answer to a request as JSON.

        Raises:
            Refused: it cannot be answered.
        """
        about = self.exported.about
        with self.admission.place() as place:
            body = await upload.read(place)
            kind = request.headers.get("content-type", "")
            asked = asked_of(about, kind, body, self.limits, request.query_params)
            del body
            left = upload.until - asyncio.get_running_loop().time()
            try:
                found = await asyncio.wait_for(self.answers_to(asked.rows), max(0.0, left))
            except asyncio.TimeoutError:
                line = f"there was no answer within {self.limits.timeout:g} s; ask again later"
                raise Refused(504, line) from None
            return body_of(told(about, asked, joined(found, about.reads == "words")))

    async def answers_to(self, rows: Any) -> list[Any]:
        """Return logits and scores of each row, when their turn has come."""
        if self.rows.is_long(rows):
            loop = asyncio.get_running_loop()
            pixels = await loop.run_in_executor(self.decoders, self.rows.pixels, rows)
        else:
            pixels = self.rows.pixels(rows)
        return await self.batcher.submit(rows, pixels)

    @contextlib.asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Answer what comes during the block, and all that came before its end."""
        self.batcher.start()
        try:
            yield
        finally:
            self.batcher.stop()
            self.decoders.shutdown()


def application(
    exported: Exported,
    limits: Limits | None = None,
    border: Border | None = None,
    threads: int | None = None,
) -> Starlette:
    """Return the service of an exported model.

    Args:
        border: who may ask; anybody who reaches this machine by a name of its own when not given.
        threads: that decode images at the same time; all cores when not given.
    """
    service = Service.of(exported, limits or Limits(), threads)
    who = border or Border.of("127.0.0.1", None)

    async def ask(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        began = loop.time()
        upload = Upload(request, service.limits, began + service.limits.timeout)
        try:
            who.require_known_host(request)
            who.require_token(request)
            response = _json(await service.answer(request, upload))
        except Refused as refused:
            upload.until = loop.time() + DRAIN_SECONDS
            await upload.drain()
            response = _refusal(refused)
        except Exception as error:  # the border of a request: others go on, and the log has it
            log.error("a request failed: %r", error, exc_info=error)
            response = _refusal(Refused(500, "the model failed at this request; the log says why"))
        service.metrics.answered(response.status_code, loop.time() - began)
        return response

    async def health(request: Request) -> Response:
        return _json(b'{"status": "ok"}')

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type=TYPE)

    async def info(request: Request) -> Response:
        return _json(body_of(pages.info(exported.about, service.limits)))

    async def page(request: Request) -> Response:
        return _html(pages.page())

    async def docs(request: Request) -> Response:
        return _html(pages.description(described))

    async def schema(request: Request) -> Response:
        return _json(body_of(described))

    described = openapi(exported.about, service.limits, who.token_digest is not None)
    open_to_all = {"/": page, "/health": health, "/docs": docs, "/openapi.json": schema}
    with_token = {"/metrics": metrics, "/info": info}
    routes = [Route("/", ask, methods=["POST"])]
    routes += [Route(path, _guarded(who, told, False)) for path, told in open_to_all.items()]
    routes += [Route(path, _guarded(who, told, True)) for path, told in with_token.items()]
    handlers: Any = {HTTPException: _elsewhere}
    return Starlette(routes=routes, lifespan=service.running, exception_handlers=handlers)


def _guarded(who: Border, handler: Handler, token: bool) -> Handler:
    """Return a handler that asks first who asks."""

    async def guarded(request: Request) -> Response:
        try:
            who.require_known_host(request)
            if token:
                who.require_token(request)
            return await handler(request)
        except Refused as refused:
            return _refusal(refused)

    return guarded


async def _elsewhere(request: Request, error: Exception) -> Response:
    """Return one line for an address, or a method, that there is not."""
    assert isinstance(error, HTTPException)
    line = f"{request.method} {request.url.path}: {error.detail}; POST / asks the model, see /docs"
    return _refusal(Refused(error.status_code, line, error.headers))


def _refusal(refused: Refused) -> Response:
    body = body_of({"error": str(refused)})
    return _json(body, refused.status, refused.headers)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    safe = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **(headers or {})}
    return Response(body, status, safe, "application/json")


def _html(page: pages.Page) -> Response:
    return Response(page.html, headers=page.headers, media_type="text/html")
