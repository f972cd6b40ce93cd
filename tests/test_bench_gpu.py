"""scripts/bench_gpu.py: what it makes of figures; a line that hangs or fails stops no other.

All of its lines run by `python scripts/bench_gpu.py --smoke`, which takes minutes.
"""

import argparse
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import bench_gpu
from bench_gpu import LINES, Line
from bench_gpu_lines import seconds_to, steady, write_rows


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


def test_a_line_that_fails_or_takes_too_long_says_so(monkeypatch, tmp_path):
    for code, said in (
        ("raise SystemExit('no such rows')", "no such rows"),
        ("import time; time.sleep(600)", "cut off after 3 s"),
    ):
        script = tmp_path / "script.py"
        script.write_text(code)
        monkeypatch.setattr(sys, "argv", [str(script)])
        assert said in bench_gpu.run(Line("vit"), str(tmp_path), 3.0)["failed"]


def test_what_has_no_rows_or_no_time_is_skipped_with_the_reason():
    options = argparse.Namespace(cifar10=None)
    later = time.monotonic() + 1000
    skipped = [
        bench_gpu.measure(Line("effnet", kind="cifar10"), options, "", later)["skipped"],
        bench_gpu.measure(Line("vit"), options, "", time.monotonic() + 1)["skipped"],
    ]
    assert skipped == ["no folder was given by --cifar10", "the minutes were over"]


def test_rows_are_images_in_folders_of_classes(tmp_path):
    write_rows(tmp_path, 40, 32)
    counts = {s: len(list((tmp_path / s).glob("*/*.jpg"))) for s in ("train", "test")}
    assert counts == {"train": 40, "test": 20}
    assert len(list((tmp_path / "train").iterdir())) == 10
