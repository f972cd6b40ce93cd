"""How `ftkit serve` does under load, and beside transformers' pipeline in a FastAPI handler.

    python scripts/bench_serve.py runs/photos --what steady overload wrong beside

`steady`: 32 clients ask for 60 seconds; nothing is lost, the answers are those of `ftkit predict`,
and the memory at the end is compared with that after 5 seconds. `overload`: ten times as many
requests come as could be answered. `wrong`: 500 bodies that nobody can answer. `beside`: requests
in a second, in turns with the pipeline. A run of images or of texts; prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
from bench_serve_clients import Ask, Check, Seen, closed, offered
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
HOST, PORT, OTHER = "127.0.0.1", 8311, 8312
ROWS, JSON = 48, "application/json"
TOLERANCE = 1e-4
"""Of a probability; batches of other sizes add up their numbers in another order."""
WORDS = [
    "Frankreich",
    "Deutschland",
    "Suomi",
    "Polska",
    "España",
    "Italia",
    "Türkiye",
    "Sverige",
    "Nederland",
    "Portugal",
]


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--what", nargs="+", default=["steady", "overload", "wrong", "beside"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        asks, check = rows_of(asked.run, Path(folder))
        found: dict[str, Any] = {"run": str(asked.run), "cores": os.cpu_count()}
        with serving(asked.run) as process:
            if "steady" in asked.what or "overload" in asked.what:
                steady = measure_steady(process, asks, check, asked.clients, asked.seconds)
                found["steady"] = steady
            if "overload" in asked.what:
                rate = 10 * found["steady"]["answers_per_second"]
                seen = asyncio.run(offered((HOST, PORT), asks, rate, 10, check))
                found["overload"] = {"offered_per_second": rate, **told(seen)}
            if "wrong" in asked.what:
                found["wrong"] = measure_wrong(asks)
        if "beside" in asked.what:
            found["beside"] = measure_beside(asked.run, asks, check, asked.clients, asked.turns)
    print(json.dumps(found, indent=2))


def rows_of(run: Path, folder: Path) -> tuple[list[Ask], Check]:
    """Return requests, and what compares an answer with that of `ftkit predict`."""
    from ftkit.prediction.predict import predict

    random_numbers = np.random.default_rng(0)
    if json.loads((run / "recipe.json").read_text())["task"]["kind"].startswith("image"):
        for number in range(ROWS):
            small = Image.fromarray(random_numbers.integers(0, 255, (12, 16, 3), dtype=np.uint8))
            small.resize((320, 240)).save(folder / f"{number:03d}.jpg")
        files = sorted(folder.glob("*.jpg"))
        asks = [Ask(file.read_bytes(), "image/jpeg", k) for k, file in enumerate(files)]
        inputs = [str(file) for file in files]
    else:
        inputs = [" ".join(random_numbers.choice(WORDS, 1 + k % 12)) for k in range(ROWS)]
        asks = [
            Ask(json.dumps({"inputs": text}).encode(), JSON, k) for k, text in enumerate(inputs)
        ]
    columns = predict(run, inputs, texts=True).columns
    right = [str(name) for name in columns["prediction"]]
    sure = [float(max(row)) for row in columns["probability"]]

    def check(key: int, body: bytes) -> bool:
        first = json.loads(body)[0]
        first = first[0] if isinstance(first, list) else first
        return first["label"] == right[key] and abs(first["score"] - sure[key]) < TOLERANCE

    return asks, check


@contextmanager
def serving(run: Path, *flags: str) -> Iterator[psutil.Process]:
    """Serve a run for the block, and require that it ends well."""
    words = ["serve", str(run), "--port", str(PORT), *flags]
    with started([sys.executable, "-m", "ftkit.cli.main", *words], PORT) as process:
        yield process


@contextmanager
def started(command: Sequence[str], port: int) -> Iterator[psutil.Process]:
    """Start a server for the block, when it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def told(seen: Seen) -> dict[str, Any]:
    """Return what clients saw, as JSON has it."""
    found: dict[str, Any] = {
        "statuses": {str(status): count for status, count in sorted(seen.statuses.items())},
        "lost": seen.statuses[0],
        "wrong_answers": seen.wrong,
        "without_retry_after": seen.without_advice,
    }
    if seen.seconds:
        cuts = np.percentile(seen.seconds, [50, 95, 99])
        found["milliseconds"] = dict(
            zip(("p50", "p95", "p99"), (round(1e3 * float(cut), 1) for cut in cuts), strict=True)
        )
    return found


def measure_steady(
    process: psutil.Process, asks: Sequence[Ask], check: Check, clients: int, seconds: float
) -> dict[str, Any]:
    """Return what 32 clients see, and the memory after 5 seconds and at the end."""

    async def both() -> tuple[Seen, int, int]:
        work = asyncio.create_task(closed((HOST, PORT), asks, clients, seconds, check))
        await asyncio.sleep(min(5, seconds / 2))
        early = process.memory_info().rss
        return await work, early, process.memory_info().rss

    seen, early, late = asyncio.run(both())
    return {
        "clients": clients,
        "seconds": seconds,
        "answers_per_second": round(seen.statuses[200] / seconds, 1),
        **told(seen),
        "megabytes_after_5_s": round(early / 1e6, 1),
        "megabytes_at_the_end": round(late / 1e6, 1),
        "grown": round(late / early - 1, 4),
    }


def measure_wrong(asks: Sequence[Ask], count: int = 500) -> dict[str, Any]:
    """Return how many of 500 made-up bodies get a 4xx with one line."""
    drawn = random.Random(0)
    bodies = [wrong_body(asks, drawn) for _ in range(count)]
    seen = asyncio.run(closed_once(bodies))
    lines = [json.loads(line)["error"] for line in seen.lines if line]
    refused = sum(n for status, n in seen.statuses.items() if 400 <= status < 500)
    return {
        "bodies": count,
        "refused_with_4xx": refused,
        "statuses": {str(status): n for status, n in sorted(seen.statuses.items())},
        "of_one_line": all(line and "\n" not in line for line in lines),
        "still_answers": asyncio.run(closed((HOST, PORT), asks, 1, 1, lambda *_: True)).statuses[
            200
        ]
        > 0,
    }


async def closed_once(asks: Sequence[Ask]) -> Seen:
    """Return what happens to each request, eight of them at a time."""
    from bench_serve_clients import Client, note

    seen, left = Seen(), list(asks)

    async def one() -> None:
        client = Client(HOST, PORT)
        while left:
            ask = left.pop()
            began = time.perf_counter()
            note(seen, ask, await client.ask(ask.wire(HOST, PORT)), began, lambda *_: False)
        client.close()

    await asyncio.gather(*(one() for _ in range(8)))
    seen.lines = type(seen.lines)({line: n for line, n in seen.lines.items() if line[-1:] == b"}"})
    return seen


def wrong_body(asks: Sequence[Ask], drawn: random.Random) -> Ask:
    """Return a body that has no answer."""
    images = asks[0].kind != JSON
    whole = drawn.choice(asks).body
    noise = drawn.randbytes(drawn.randrange(1, 4000))
    cut = whole[: drawn.randrange(1, max(2, len(whole) // 2))]
    kinds = [
        lambda: Ask(b"", asks[0].kind),
        lambda: Ask(noise, JSON),
        lambda: Ask(noise, asks[0].kind),
        lambda: Ask(cut, asks[0].kind),
        lambda: Ask(b"[" * drawn.randrange(1, 200_000), JSON),
        lambda: Ask(json.dumps({"inputs": drawn.choice([None, 3, {}, [], True])}).encode(), JSON),
        lambda: Ask(json.dumps({"inputs": "x", "parameters": {"top_k": -1}}).encode(), JSON),
        lambda: Ask(json.dumps({"inputs": "x", "parameters": [1]}).encode(), JSON),
        lambda: Ask(whole, "multipart/form-data; boundary=x"),
        lambda: Ask(b"\0" * drawn.randrange(20_000_001, 24_000_000), asks[0].kind),
        lambda: Ask(picture_bomb() if images else text_bomb(), asks[0].kind),
    ]
    return drawn.choice(kinds)()


def picture_bomb() -> bytes:
    """Return a PNG of few bytes and 81 million pixels."""
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG", optimize=True)
    return file.getvalue()


def text_bomb() -> bytes:
    """Return a text of more tokens than are read."""
    return json.dumps({"inputs": "a b " * 400_000}).encode()


def measure_beside(
    run: Path, asks: Sequence[Ask], check: Check, clients: int, turns: int
) -> dict[str, Any]:
    """Return requests in a second of ftkit and of the pipeline, in turns."""
    images = asks[0].kind != JSON
    task = "image-classification" if images else "text-classification"
    script = str(Path(__file__).with_name("bench_serve_pipeline.py"))
    rates: dict[str, list[float]] = {"ftkit": [], "waits": [], "threads": []}
    for _ in range(turns):
        for who, times in rates.items():
            other = [sys.executable, script, str(run / "model"), task, str(OTHER), who]
            server = serving(run) if who == "ftkit" else started(other, OTHER)
            place = (HOST, PORT if who == "ftkit" else OTHER)
            with server:
                asyncio.run(closed(place, asks, clients, 2, lambda *_: True))
                seen = asyncio.run(closed(place, asks, clients, 10, check))
            times.append(round(seen.statuses[200] / 10, 1))
    best = [max(pair) for pair in zip(rates["waits"], rates["threads"], strict=True)]
    ratios = [ours / theirs for ours, theirs in zip(rates["ftkit"], best, strict=True)]
    return {
        "requests_per_second": rates,
        "ratio_to_the_better": [round(ratio, 2) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 2),
    }


if __name__ == "__main__":
    main()
