"""Kill runs at random moments and resume them: is the result bit for bit that of a run left alone?

    FTKIT_PRECISION=fp32 OMP_NUM_THREADS=1 python scripts/soak.py --stops 7 --json FILE

For full, lora, head and mlp in turn: one run is left alone; two more are stopped at random moments,
by SIGKILL and SIGTERM in turn, and resumed each time, `--stops` times by each signal, and then
left to end. Weights, metrics, predictions and log.jsonl (but for seconds) must be equal. A SIGTERM
must end the run with status 143 within 10 s and leave a whole checkpoint. Opt-in: it takes minutes.
docs/reliability.md has what came out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

SMALL = ["effnet-digits", "--set", "data.train_rows=240", "--set", "data.validation_rows=120"]
SMALL += ["--set", "data.test_rows=120", "--set", "task.augment.crop=[0.8,1.0]"]
SMALL += ["--set", "backbone.image_size=32", "--batch-size", "16", "--checkpoint-every", "5"]
RUNS = {
    "full": [*SMALL, "--backbone", "./vit", "--strategy", "full", "--epochs", "3"],
    "lora": [*SMALL, "--backbone", "./resnet", "--strategy", "lora", "--epochs", "3"],
    "head": [*SMALL, "--backbone", "./vit", "--strategy", "head", "--epochs", "30"],
    "mlp": [
        *("mlp-digits", "--set", "backbone.hidden=[512,512]", "--set", "backbone.dropout=0.2"),
        *("--epochs", "40", "--checkpoint-every", "100"),
    ],
}
"""A small ViT with dropout, a small ResNet with BatchNorm, and a perceptron with dropout."""
MOST_SECONDS = 10.0
"""From a SIGTERM to the end of the run."""


def main() -> int:
    """Run everything, print a table, return 0 where nothing was lost."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--stops", type=int, default=7, help="of each signal and kind of run")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", nargs="+", default=list(RUNS), choices=list(RUNS))
    words.add_argument("--json", type=Path)
    asked = words.parse_args()
    import ftkit.finetuning.finetune  # noqa: F401 - once, so that each sitting begins at once

    draw = random.Random(asked.seed)
    found = {}
    with tempfile.TemporaryDirectory(prefix="ftkit-soak-") as folder:
        os.chdir(folder)
        if not (child := os.fork()):  # a process that has computed must not be forked
            make_backbones(Path(folder))
            os._exit(0)
        wait(child)
        for kind in asked.only:
            found[kind] = soak(Path(folder, kind), RUNS[kind], asked.stops, draw)
            print(kind, json.dumps(found[kind]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    failed = [kind for kind, figures in found.items() if not figures["equal"]]
    late = [kind for kind, f in found.items() if f["terminated"] != f["status_143_whole"]]
    slow = [kind for kind, f in found.items() if f["longest_seconds"] > MOST_SECONDS]
    print("all equal" if not failed else f"NOT EQUAL: {failed}", f"late {late + slow}" * bool(late))
    return 1 if failed or late or slow else 0


def make_backbones(folder: Path) -> None:
    """Write the two checkpoints with random weights."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    names = {number: str(number) for number in range(5)}
    vit = hf.ViTConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128,
        image_size=32, patch_size=8, id2label=names, hidden_dropout_prob=0.1,
    )  # fmt: skip
    resnet = hf.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], layer_type="basic",
        id2label=names,
    )  # fmt: skip
    hf.ViTForImageClassification(vit).save_pretrained(folder / "vit")
    hf.ResNetForImageClassification(resnet).save_pretrained(folder / "resnet")
    for name in ("vit", "resnet"):
        size = {"height": 32, "width": 32}
        hf.ViTImageProcessor(size=size).save_pretrained(folder / name)


def soak(folder: Path, run: list[str], stops: int, draw: random.Random) -> dict:
    """Return what came of one kind of run."""
    folder.mkdir()
    begin = time.monotonic()
    finish(start(run, folder / "whole", folder), folder)
    whole_seconds = time.monotonic() - begin
    training = json.loads((folder / "whole" / "run.json").read_text())["seconds"]["train"]
    wanted = {signal.SIGKILL: stops, signal.SIGTERM: stops}
    figures = {"whole_seconds": round(whole_seconds, 1), "killed": 0, "terminated": 0}
    figures |= {"status_143_whole": 0, "longest_seconds": 0.0, "runs": 0, "equal": 0}
    while any(wanted.values()):
        figures["runs"] += 1
        out, stopped = folder / f"run{figures['runs']}", 0
        while True:
            number = max(wanted, key=lambda n: (wanted[n], draw.random()))
            enough = not wanted[number] or stopped >= stops
            child = start(run, out, folder)
            if not enough:
                in_training = number == signal.SIGTERM or draw.random() < 0.7
                delay = draw.uniform(0, 0.6 * (training if in_training else whole_seconds))
                alive = stop(child, number, delay, in_training, out, figures)
                wanted[number] -= alive
                stopped += alive
                print(f"{signal.Signals(number).name} after {delay:.1f} s: {alive}", flush=True)
                if alive:
                    continue
            else:
                finish(child, folder)
            break
        figures["equal"] += equal(folder / "whole", out)
    figures["equal"] = figures["equal"] == figures["runs"]
    return figures


def start(run: list[str], out: Path, folder: Path) -> int:
    """Start a sitting in a process of its own and return its number."""
    child = os.fork()
    if child:
        return child
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    try:
        from ftkit.cli.main import main as ftkit

        os._exit(ftkit(["train", *run, "--out", str(out), *["--resume"] * (out.exists())]))
    except BaseException:
        traceback.print_exc()
    os._exit(70)


def stop(
    child: int, number: int, delay: float, in_training: bool, out: Path, figures: dict
) -> bool:
    """Send the signal after a while and return whether the run had not ended before.

    Args:
        in_training: the while begins when steps are taken, not when the process does.
    """
    log = out / "log.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    if in_training and not until(lambda: log.exists() and log.stat().st_mtime_ns != before, child):
        return False
    if not until(None, child, delay):
        return False
    begin = time.monotonic()
    os.kill(child, number)
    status = wait(child)
    if number == signal.SIGKILL:
        figures["killed"] += 1
        return True
    if status == 0:  # it came to its end first
        return False
    seconds = time.monotonic() - begin
    from ftkit.runs.checkpoint import why_damaged

    checkpoints = sorted(out.glob("checkpoints/checkpoint-*"), key=lambda p: p.stat().st_mtime_ns)
    whole = bool(checkpoints) and why_damaged(checkpoints[-1]) is None
    figures["terminated"] += 1
    figures["status_143_whole"] += status == 143 and whole and seconds <= MOST_SECONDS
    figures["longest_seconds"] = max(figures["longest_seconds"], round(seconds, 2))
    return True


def finish(child: int, folder: Path) -> None:
    """Wait for the end of a run that nobody stops."""
    if wait(child) != 0:
        raise SystemExit(
            f"a run that nobody stopped fails:\n{(folder / 'said').read_text()[-2000:]}"
        )


ENDED: dict[int, int] = {}


def until(done: Callable[[], bool] | None, child: int, seconds: float = 600) -> bool:
    """Wait until something is so, or for some seconds; return False where the run ends first."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (done and done()):
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            ENDED[child] = os.waitstatus_to_exitcode(status)
            assert ENDED[child] == 0, "a run that was resumed fails"
            return False
        time.sleep(0.002)
    return True


def wait(child: int) -> int:
    """Return the exit status of a sitting."""
    if child in ENDED:
        return ENDED.pop(child)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def equal(one: Path, other: Path) -> bool:
    """Return whether two runs found out the same, bit for bit."""
    names = ("weights", "metrics", "predictions", "log")
    found = zip(names, contents(one), contents(other), strict=True)
    differ = [name for name, left, right in found if left != right]
    if differ:
        print(f"{other.name} differs in {', '.join(differ)}", flush=True)
    return not differ


def contents(run: Path) -> tuple:
    """Return weights, metrics, predictions and log, without what is a duration."""
    from safetensors.torch import load_file

    from ftkit.hub.checksums import sha256_of

    weights = {  # not the files' checksums: safetensors orders its metadata by chance
        f"{file.relative_to(run)} {name}": values.numpy().tobytes()
        for file in (run / "model").rglob("*.safetensors")
        for name, values in load_file(file).items()
    }
    metrics = json.loads((run / "run.json").read_text())["metrics"]
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    log = [{k: v for k, v in entry.items() if "seconds" not in k} for entry in entries]
    return weights, metrics, sha256_of(run / "predictions.parquet"), log


if __name__ == "__main__":
    sys.exit(main())
