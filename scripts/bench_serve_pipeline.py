"""What `scripts/bench_serve.py` compares with: transformers' pipeline in a plain FastAPI handler.

`python scripts/bench_serve_pipeline.py MODEL_FOLDER TASK PORT waits|threads`: the handler is a
coroutine, in which the model keeps others waiting, or a function, which FastAPI runs in threads.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from PIL import Image
from transformers import pipeline


def application(folder: str, task: str, how: str) -> FastAPI:
    """Return the service."""
    app, model = FastAPI(), pipeline(task, model=folder)  # type: ignore[call-overload]
    images = task == "image-classification"

    def answered(body: Any) -> Any:
        return model(Image.open(io.BytesIO(body))) if images else model(body["inputs"], top_k=None)

    if how == "waits":

        @app.post("/")
        async def ask(request: Request) -> Any:
            return answered(await (request.body() if images else request.json()))

    else:
        from fastapi import Body, Depends

        async def body_of(request: Request) -> Any:
            return await (request.body() if images else request.json())

        del Body

        @app.post("/")
        def ask_in_threads(body: Any = Depends(body_of)) -> Any:  # noqa: B008 - FastAPI's way
            return answered(body)

    @app.get("/health")
    def health() -> Response:
        return Response("ok")

    return app


if __name__ == "__main__":
    folder, task, port, how = sys.argv[1:]
    uvicorn.run(application(folder, task, how), port=int(port), log_level="error", http="h11")
