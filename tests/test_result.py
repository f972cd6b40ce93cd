"""run.json: the contract that other programs read, its round trip, and folders without one."""

import json

import pytest

from ftkit import RecipeError, RunError, RunResult
from ftkit.runs.result import Measured, Seconds

# DESIGN.md, "run.json:"
KEYS = {
    "recipe", "strategy", "task", "dataset", "split", "n", "unseen_words", "metrics",
    "validation",
    "parameters_total", "parameters_trained", "seconds", "examples_per_second",
    "peak_memory_bytes", "model_bytes", "latency_seconds", "latency", "model_sha256", "seed",
    "world_size", "device", "precision", "versions", "commit", "started", "finished", "status",
}  # fmt: skip


def make(**changes):
    values = {
        "recipe": "vit-mine",
        "strategy": {"kind": "lora", "rank": 8},
        "task": {"kind": "image-classification", "label": "Größe"},
        "dataset": "pilze/蘑菇",
        "split": "test",
        "n": 360,
        "metrics": {"accuracy": Measured(value=0.9, low=0.86, high=0.93, method="Wilson score")},
        "parameters_total": 1000,
        "parameters_trained": 10,
        "seconds": Seconds(data=1, features=0, train=2.5, evaluate=0.5, total=4),
        "examples_per_second": 512.25,
        "peak_memory_bytes": {"host": 10**9, "device": 0},
        "model_bytes": 4000,
        "seed": 3,
        "world_size": 2,
        "device": "cpu",
        "precision": "fp32",
        "versions": {"torch": "2.9"},
        "commit": None,
        "started": "2025-01-01T00:00:00Z",
        "finished": "2025-01-01T00:00:04Z",
        "status": "complete",
    }
    return RunResult(**(values | changes))


def test_a_written_result_is_read_again_as_it_was(tmp_path):
    result = make()
    result.write(tmp_path)
    assert RunResult.read(tmp_path) == result
    assert RunResult.read(str(tmp_path)) == result


def test_a_result_of_a_version_without_validation_figures_is_read(tmp_path):
    make().write(tmp_path)
    written = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    del written["validation"]
    (tmp_path / "run.json").write_text(json.dumps(written), encoding="utf-8")
    assert RunResult.read(tmp_path) == make()


def test_run_json_has_exactly_the_keys_of_the_contract(tmp_path):
    make().write(tmp_path)
    written = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert set(written) == KEYS
    assert set(written["seconds"]) == {"data", "features", "train", "evaluate", "total"}
    assert set(written["metrics"]["accuracy"]) >= {"value", "low", "high"}
    assert written["dataset"] == "pilze/蘑菇"
    assert written["n"] == 360


def test_writing_leaves_one_whole_file_and_replaces_an_older_one(tmp_path):
    make(seed=1).write(tmp_path)
    make(seed=2).write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert RunResult.read(tmp_path).seed == 2


def test_a_missing_folder_holds_no_run(tmp_path):
    with pytest.raises(RunError, match="nowhere holds no run"):
        RunResult.read(tmp_path / "nowhere")


def test_a_folder_with_a_recipe_alone_is_not_finished(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(RunError, match="is not finished"):
        RunResult.read(tmp_path)


@pytest.mark.parametrize(
    "text", ["", '{"recipe": "vit', "[]", '{"recipe": "vit"}', '{"status": "complete", "new": 1}']
)
def test_a_run_json_that_is_none_is_a_run_error_with_its_path(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        RunResult.read(tmp_path)


def test_only_a_complete_run_is_a_result():
    with pytest.raises(RecipeError, match=r"run\.status"):
        make(status="running")
