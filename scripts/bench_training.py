"""Time full fine-tuning and LoRA against the stock Trainer and a bare PyTorch loop.

    python scripts/bench_training.py [--recipe NAME] [--strategies full lora] [--rows N]
                                     [--epochs N] [--rounds N] [--json FILE]

Each contender runs in a process of its own, in turns, round after round. The bare loop has ftkit's
settings, so that its time tells what ftkit costs beside the arithmetic. "share" is of the rate of
matrix products measured on this machine in the precision that was used; forward and backward count
as three times the forward pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from bench_common import CONTENDERS, quiet, recipe_of, record, run_worker, work


def main() -> None:
    """Print a table of examples per second, ratios, accuracies and memory."""
    options = parse()
    if options.worker:
        recipe = recipe_of(options, options.worker_strategy)
        print(
            json.dumps(
                limits(recipe) if options.worker == "limits" else work(options.worker, recipe)
            )
        )
        return
    found: dict[str, Any] = {}
    print(
        "strategy  contender  examples/s (each round)     ratio  share  accuracy  seconds  peak MB"
    )
    for strategy in options.strategies:
        words = ["--worker-strategy", strategy, "--worker"]
        limit = run_worker([*words, "limits"], {})

        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
        for _ in range(options.rounds):
            for name in CONTENDERS:
                rounds[name].append(run_worker([*words, name], {}))
        base = max(run["examples_per_second"] for run in rounds["stock"])
        for name, each in rounds.items():
            best = max(each, key=lambda run: run["examples_per_second"])
            rate = best["examples_per_second"]
            share = 3 * limit["forward_flop"] * rate / limit[best["precision"]]
            rates = " ".join(f"{run['examples_per_second']:7.1f}" for run in each)
            print(
                f"{strategy:8s}  {name:9s}  {rates:26s}  {rate / base:5.2f}  {share:5.1%}"
                f"  {statistics.mean(run['accuracy'] for run in each):8.4f}"
                f"  {best['seconds']:7.1f}"
                f"  {max(best['host_bytes'], best['device_bytes']) / 1e6:7.0f}",
                flush=True,
            )
        own, loop = (min(run["seconds"] for run in rounds[name]) for name in ("ftkit", "bare"))
        print(f"{strategy:8s}  ftkit over the bare loop: {own / loop - 1:+.1%}")
        found[strategy] = {"limits": limit, "figures": rounds}
    record(options, found)


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="effnet-digits")
    parser.add_argument("--data", help="other data: a folder, a file, a Hub id")
    parser.add_argument("--strategies", nargs="+", default=["full", "lora"])
    parser.add_argument("--rows", type=int, help="so many training rows")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument("--worker", choices=[*CONTENDERS, "limits"], help=argparse.SUPPRESS)
    parser.add_argument("--worker-strategy", help=argparse.SUPPRESS)
    return parser.parse_args()


def limits(recipe: Any) -> dict[str, float]:
    """Return the operations of a forward pass of one row, and the machine's rates of products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    quiet()
    from ftkit import runtime
    from ftkit.evaluation import first_examples
    from ftkit.models import load_model
    from ftkit.run import make_ready

    machine = runtime.start(recipe.train.seed)
    inputs = make_ready(recipe, machine).inputs
    plain, _ = load_model(
        recipe.backbone, tuple("ab"), 0, recipe.task
    )  # without the layers that LoRA adds
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        plain(**first_examples(inputs, 1, torch.device("cpu")))
    found = {"forward_flop": float(counter.get_total_flops())}
    size = 8192 if machine.device.type == "cuda" else 2048
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        A, B = (torch.randn(size, size, device=machine.device, dtype=dtype) for _ in range(2))
        best = 0.0
        for _ in range(8):
            begin = time.perf_counter()
            A @ B
            if machine.device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * size**3 / (time.perf_counter() - begin))
        found[name] = best
    return found


if __name__ == "__main__":
    main()
