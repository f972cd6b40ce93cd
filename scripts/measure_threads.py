"""How should OpenMP's threads wait for each other? Alone, and beside busy neighbours.

    python scripts/measure_threads.py [--neighbours 0 4] [--json FILE]

Times small products and layers in a process of its own for each way of waiting: as OpenMP does it,
asleep at once, asleep after so many turns, and with one thread. Prints the least milliseconds of
each. It is what `ftkit.machine.threads.SPINS` stands on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench_common import busy_neighbours

WAYS = {
    "as OpenMP is": {},
    "asleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "1,000 turns": {"GOMP_SPINCOUNT": "1000"},
    "10,000 turns": {"GOMP_SPINCOUNT": "10000"},
    "50,000 turns": {"GOMP_SPINCOUNT": "50000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
READ = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


def main() -> None:
    """Measure every way in turns, with so many neighbours each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(least_milliseconds()))
        return
    found: dict[str, dict[str, float]] = {}
    inherited = {name: value for name, value in os.environ.items() if name not in READ}
    for count in options.neighbours:
        with busy_neighbours(count):
            for way, environment in WAYS.items():
                command = [sys.executable, __file__, "--worker"]
                said = subprocess.check_output(command, env=inherited | environment, text=True)
                times = found[f"{count} neighbours, {way}"] = json.loads(said.splitlines()[-1])
                figures = "; ".join(f"{what} {value:.0f}" for what, value in times.items())
                print(f"{count} neighbours, {way}: {figures} ms", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def least_milliseconds() -> dict[str, float]:
    """Return the time of each piece of work in this process."""
    import timm
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    features = torch.randn(1437, 1280, dtype=torch.float64)
    weights = torch.randn(50, 1280, dtype=torch.float64)  # ten classes in five folds

    def solver() -> None:
        for _ in range(20):
            z = (features @ weights.T).view(1437, 5, 10)
            torch.softmax(z, 2).view(1437, 50).T @ features

    network = timm.create_model("tf_efficientnet_lite0", num_classes=10).eval()
    network = network.to(memory_format=torch.channels_last)
    images = torch.randn(16, 3, 96, 96).to(memory_format=torch.channels_last)
    of_minilm = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    bert = BertModel(of_minilm).eval()
    tokens = torch.randint(0, 1000, (32, 16))

    def forward(rows: torch.Tensor) -> None:
        with torch.inference_mode():
            network(rows)

    def image_step() -> None:
        network(images).square().mean().backward()
        network.zero_grad()

    def text_step() -> None:
        bert(tokens).last_hidden_state.mean().backward()
        bert.zero_grad()

    return {
        "one image": _least(lambda: forward(images[:1]), 20),
        "16 images": _least(lambda: forward(images), 8),
        "step of 16 images": _least(image_step, 5),
        "step of 32 texts": _least(text_step, 8),
        "20 passes of a head's solver": _least(solver, 8),
    }


def _least(work: Callable[[], None], times: int) -> float:
    work()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - begin))
    return min(found)


if __name__ == "__main__":
    main()
