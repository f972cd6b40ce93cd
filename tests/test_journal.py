"""log.jsonl after a kill: what was whole is kept, and one process alone writes it."""

import json
import logging

import pytest

from ftkit.runs.journal import Journal, Position, say_epoch

ENTRIES = [
    {"step": 2, "epoch": 0.5, "seconds": 1.5, "loss": 2.0, "learning_rate": 0.1},
    {"step": 4, "epoch": 1.0, "seconds": 3.0, "validation_loss": 1.5, "validation_seconds": 0.25},
    {"step": 6, "epoch": 1.5, "seconds": 4.5, "loss": 1.0, "learning_rate": 0.1},
]


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES))
    return file


def entries(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_resumed_run_keeps_what_its_checkpoint_knows(log):
    journal = Journal(log, True, Position(2, 3.0, 0.25))
    assert entries(log) == ENTRIES[:2]
    assert (journal.train_seconds, journal.validation_seconds) == (3.0, 0.25)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_last_line_cut_off_by_a_kill_is_left_out(log, tmp_path, cut):
    log.write_text(log.read_text()[:-cut])
    Journal(log, True, Position(3))
    assert entries(log) == ENTRIES[:2]
    assert log.read_text().endswith("}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_new_run_begins_a_new_log(log):
    journal = Journal(log, True, None)
    assert log.read_text() == ""
    assert journal.train_seconds == 0


def test_a_process_that_does_not_write_leaves_the_file_alone(log):
    log.write_text("no entry\n")
    Journal(log, False, Position(2))
    assert log.read_text() == "no entry\n"


@pytest.mark.parametrize(
    ("epoch", "epochs", "said"),
    [(150, 3_000, "epoch 150 of 3,000"), (0.25, 1, "epoch 0.25 of 1"), (10, 10, "epoch 10 of 10")],
)
def test_epochs_are_said_as_they_are_counted(caplog, epoch, epochs, said):
    caplog.set_level(logging.INFO)
    say_epoch(epoch, epochs, {"validation_loss": 1.0, "validation_accuracy": 0.5}, 7, 1.0)
    assert caplog.messages[0].startswith(f"{said}:")
