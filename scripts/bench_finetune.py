"""Time fine-tuning by ftkit against the stock Trainer and a bare PyTorch loop.

    python scripts/bench_finetune.py [--recipe NAME] [--strategies head full lora] [--rows N]
                                     [--epochs N ...] [--rounds N] [--data PATH] [--json FILE]
    python scripts/bench_finetune.py --memory [--recipe NAME] --data PATH

Each contender runs in a process of its own, in turns, round after round; a ratio is of the shortest
times. `ftkit` begins with an empty $FTKIT_CACHE, `again` finds what it left there: measured
arithmetic, and for the head its features. The bare loop has ftkit's settings, so that its time
tells what ftkit costs beside the arithmetic. "share" is of the rate of matrix products measured
here in the precision that was used; forward and backward count as three times the forward pass. On
a busy machine the CPU time of the thread that trains says more than the clock; validation on a CPU
goes on in other threads, and is in neither.

With --memory: the peak memory of extracting the features of 5,000 and of 50,000 rows instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

from bench_common import CONTENDERS, quiet, recipe_of, record, run_worker, work

FOR_HEAD = {"stock": "stock", "ftkit": "ftkit", "again": "ftkit"}
FOR_OTHERS = {"stock": "stock", "ftkit": "ftkit", "again": "ftkit", "bare": "bare"}
FEW, MANY = 5_000, 50_000


def main() -> None:
    """Print a table of seconds, ratios, accuracies and memory."""
    options = parse()
    if options.worker:
        options.rows, options.epochs = options.worker_rows or options.rows, options.worker_epochs
        recipe = recipe_of(options, options.worker_strategy)
        job = {"limits": limits, "extract": extract}.get(options.worker)
        print(json.dumps(job(recipe) if job else work(options.worker, recipe)))
    elif options.memory:
        memory(options)
    else:
        speed(options)


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="effnet-digits")
    parser.add_argument("--data", help="other data: a folder, a file, a Hub id")
    parser.add_argument("--set", nargs="*", default=[], help="FIELD=VALUE for all contenders")
    parser.add_argument("--strategies", nargs="+", default=["head", "full", "lora"])
    parser.add_argument("--rows", type=int, help="so many training rows")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument(
        "--worker", choices=[*CONTENDERS, "limits", "extract"], help=argparse.SUPPRESS
    )
    parser.add_argument("--worker-strategy", default="head", help=argparse.SUPPRESS)
    parser.add_argument("--worker-epochs", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--worker-rows", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def speed(options: argparse.Namespace) -> None:
    """Run the contenders in turns and print their shortest times."""
    found: dict[str, Any] = {}
    print("strategy  epochs  contender  seconds by round  ratio  rows/s  share  accuracy  peak MB")
    for strategy in options.strategies:
        names = FOR_HEAD if strategy == "head" else FOR_OTHERS
        limit = run_worker(["--worker-strategy", strategy, "--worker", "limits"], {})
        for epochs in options.epochs:
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            words = ["--worker-strategy", strategy, "--worker-epochs", str(epochs), "--worker"]
            for _ in range(options.rounds):
                with tempfile.TemporaryDirectory() as cache:
                    for name, contender in names.items():
                        run = run_worker([*words, contender], {"FTKIT_CACHE": cache})
                        rounds[name].append(run)
            for name, runs in rounds.items():
                print(f"{strategy:8s}  {epochs:6d}  {row(name, runs, rounds['stock'], limit)}")
            if "bare" in rounds:
                over = [
                    min(run[unit] for run in rounds["again"])
                    / min(run[unit] for run in rounds["bare"])
                    - 1
                    for unit in ("seconds", "thread_seconds")
                ]
                print(
                    f"{strategy:8s}  {epochs:6d}  ftkit over the bare loop: {over[0]:+.1%}, in CPU "
                    f"time of the thread that trains {over[1]:+.1%}"
                )
            found[f"{strategy} {epochs}"] = {"limits": limit, "figures": rounds}
    record(options, found)


def shortest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the run that took the least time."""
    return min(runs, key=lambda run: run["seconds"])


def row(
    name: str, runs: list[dict[str, Any]], stock: list[dict[str, Any]], limit: dict[str, float]
) -> str:
    """Return a contender's line of the table."""
    best = shortest(runs)
    rate = best["examples_per_second"]
    frozen = name in ("ftkit", "again") and best["cached"]
    share = 0.0 if frozen else 3 * limit["forward_flop"] * rate / limit[best["precision"]]
    seconds = " ".join(f"{run['seconds']:.2f}" for run in runs)
    return (
        f"{name:9s}  {seconds:16s}  {shortest(stock)['seconds'] / best['seconds']:5.1f}"
        f"  {rate:6.0f}  {'' if frozen else f'{share:.0%}':>5s}"
        f"  {statistics.mean(run['accuracy'] for run in runs):8.4f}"
        f"  {max(best['host_bytes'], best['device_bytes']) / 1e6:7.0f}"
    )


def memory(options: argparse.Namespace) -> None:
    """Print the peak memory of extraction for few and for many rows."""
    found = {}
    for rows in (FEW, MANY):
        with tempfile.TemporaryDirectory() as cache:
            words = ["--worker", "extract", "--worker-rows", str(rows)]
            found[rows] = run_worker(words, {"FTKIT_CACHE": cache})
        print(f"{rows:6,d} rows", *(f"{k} {v:,.0f}" for k, v in found[rows].items()))
    more = found[MANY]["host_bytes"] - found[FEW]["host_bytes"]
    print(f"{MANY:,} rows take {more / 1e6:.0f} MB more than {FEW:,}")
    record(options, {"memory": {str(rows): figures for rows, figures in found.items()}})


def extract(recipe: Any) -> dict[str, float]:
    """Return the peak memory of a process that extracts the features of all training rows."""
    quiet()
    from ftkit.backbones.structure import place
    from ftkit.finetuning.finetune import make_ready
    from ftkit.machine import runtime
    from ftkit.strategies.features import cache_features

    recipe = recipe.override({"data.validation_rows": 64, "data.test_rows": 64})
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    loaded = runtime.peak_memory(machine)["host"]
    begin = time.perf_counter()
    cache_features(ready.model, ready.inputs, recipe, machine)
    peak = runtime.peak_memory(machine)
    return {
        "seconds": time.perf_counter() - begin,
        "loaded_bytes": loaded,
        "host_bytes": peak["host"],
    }


def limits(recipe: Any) -> dict[str, float]:
    """Return the operations of a forward pass of one row, and the machine's rates of products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    quiet()
    from ftkit.backbones.pretrained import load_model
    from ftkit.finetuning.finetune import make_ready
    from ftkit.machine import runtime
    from ftkit.tasks import task_of
    from ftkit.tasks.evaluation import first_examples

    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    names = ready.splits.label_names
    # without the layers of LoRA
    plain, _ = load_model(recipe.backbone, names, 0, task_of(recipe.task))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        plain(**first_examples(ready.inputs, 1, torch.device("cpu")))
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
