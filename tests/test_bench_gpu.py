"""scripts/bench_gpu.py: what it makes of figures; a line that hangs or fails stops no other.

All of its lines run by `python scripts/bench_gpu.py --smoke`, which takes minutes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import bench_gpu
from bench_children import Children
from bench_gpu import LINES, Line
from bench_gpu_lines import _write_image, busy_command, seconds_to, steady, write_rows

SCRIPTS = Path(bench_gpu.__file__).parent


def test_every_line_has_a_name_of_its_own_and_limits_come_first():
    names = [line.name for line in LINES]
    assert len(set(names)) == len(names)
    for model in ("vit", "effnet"):
        assert min(i for i, n in enumerate(names) if n.startswith(model)) == names.index(
            f"{model} limits"
        )


def test_a_rate_is_that_of_the_steps_after_the_first_third():
    entries = [{"step": step, "seconds": 50.0 + step / 4} for step in range(1, 10)]
    entries[0]["seconds"] = 1.0  # compiled after it
    assert steady(entries, 8) == pytest.approx(32.0)
    assert steady(entries[:2], 8) is None


def test_seconds_to_a_goal_are_those_of_the_first_validation_that_reached_it():
    seen = [(10.0, 0.9), (20.0, 0.97), (30.0, 0.98)]
    entries = [{"seconds": s, "validation_accuracy": a} for s, a in seen]
    assert seconds_to(0.96, entries) == 20.0
    assert seconds_to(0.99, entries) is None


def test_shares_and_goals_are_of_what_was_measured():
    lines = {
        "vit limits": {"forward_flop": 10.0, "bf16": 600.0, "fp32": 300.0},
        "vit full bf16": {"rows_per_second": 10.0, "device_bytes": 100, "busy": 0.8},
        "vit lora bf16": {"failed": "cut off"},
        "effnet head bf16": {"rows_per_second": 95.0, "forward_rows_per_second": 100.0},
    }
    bench_gpu.add_shares(lines)
    assert lines["vit full bf16"]["share"] == pytest.approx(3 * 10 * 10 / 600)
    met = {goal["goal"]: goal["met"] for goal in bench_gpu.goals(lines)}
    assert met["ViT-B/16 full at 0.45 of the bf16 product rate"]
    assert met["EffNet head at 0.9 of the forward rate"]
    assert met["the device busy 0.9 of the time"] is False
    assert met["ViT LoRA at most 0.6 of full's memory"] is None


@pytest.mark.parametrize(
    ("code", "seconds", "said"),
    [
        ("raise SystemExit('no such rows')", 600.0, "no such rows"),
        ("import time; time.sleep(600)", 1.0, "cut off after 1 s"),
    ],
)
def test_a_line_that_fails_or_takes_too_long_says_so(monkeypatch, tmp_path, code, seconds, said):
    script = tmp_path / "script.py"
    script.write_text(code)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert said in bench_gpu.run(Line("vit"), str(tmp_path), seconds, Children())["failed"]


STOPPED = """
import os, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {scripts!r})
import bench_gpu
if "--line" in sys.argv:
    reader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path("pids.new").write_text(f"{{os.getpid()}} {{reader.pid}}")
    os.rename("pids.new", "pids")
    time.sleep(600)
bench_gpu.prepare = lambda scratch, smoke: None
bench_gpu.about = dict
bench_gpu.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_benchmark_that_is_stopped_ends_its_processes(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(STOPPED.format(scripts=str(SCRIPTS)))
    bench = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not (tmp_path / "pids").exists():
        assert bench.poll() is None
        time.sleep(0.05)
    running = [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
    try:
        bench.send_signal(number)
        assert bench.wait(300) != 0
        _, alive = psutil.wait_procs(running, timeout=60)
        alive = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        assert not alive
    finally:
        for process in running:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        bench.kill()


def test_after_the_end_no_process_begins():
    processes = Children()
    processes.end()
    assert processes.run(["no such program"], {}, 1.0)[0] != 0


def test_the_driver_is_asked_of_the_device_in_use(monkeypatch):
    properties = {0: "aaaa", 1: "bbbb"}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda one: SimpleNamespace(uuid=properties[one])
    )
    assert busy_command(1)[-2:] == ["-i", "GPU-bbbb"]


def test_images_are_the_same_in_every_process(tmp_path):
    file = tmp_path / "train" / "3" / "7.jpg"
    file.parent.mkdir(parents=True)
    _write_image(file, 8)
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
    code += "from bench_gpu_lines import _write_image; _write_image(Path(sys.argv[2]), 8)"
    before = file.read_bytes()
    subprocess.run(
        [sys.executable, "-c", code, str(SCRIPTS), str(file)],
        check=True, env=os.environ | {"PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert file.read_bytes() == before


def test_what_has_no_rows_or_no_time_is_skipped_with_the_reason():
    options = argparse.Namespace(cifar10=None)
    later = time.monotonic() + 1000
    skipped = [
        bench_gpu.measure(Line("effnet", kind="cifar10"), options, "", later, Children())[
            "skipped"
        ],
        bench_gpu.measure(Line("vit"), options, "", time.monotonic() + 1, Children())["skipped"],
    ]
    assert skipped == ["no folder was given by --cifar10", "the minutes were over"]


def test_rows_are_images_in_folders_of_classes(tmp_path):
    write_rows(tmp_path, 40, 32)
    counts = {s: len(list((tmp_path / s).glob("*/*.jpg"))) for s in ("train", "test")}
    assert counts == {"train": 40, "test": 20}
    assert len(list((tmp_path / "train").iterdir())) == 10
