"""A process that cannot go on: all end soon, and its message is the one that is said, once."""

import os
import subprocess
import sys
import threading
import time

import pytest

from ftkit import peers

SECONDS = 30.0
"""What all processes may take to end; the start is not counted."""
SCRIPT = """
import os, sys, time
import ftkit.run as run
from ftkit.cli import main
from ftkit.errors import TrainingError

def train(*arguments, **rest):
    if os.environ["RANK"] == "1":
        open("when", "w").write(str(time.time()))
        {what}
    import torch
    torch.distributed.all_reduce(torch.zeros(1))  # as in each step of training

run.train = train
sys.exit(main(["train", "mine.json", "--out", "out"]))
"""
WHAT = {
    "raise TrainingError('row 7 is wet')": "error (process 1): row 7 is wet",
    "os.kill(os.getpid(), 9)": "",  # torchrun ends the other, and says so, before it finds out
}


@pytest.mark.parametrize("what", WHAT, ids=["error", "killed"])
def test_what_ends_one_process_ends_all_and_is_said_once(what, tiny_recipe, tmp_path):
    (tmp_path / "mine.json").write_text(tiny_recipe.to_json())
    (tmp_path / "script.py").write_text(SCRIPT.format(what=what))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    taken = time.time() - float((tmp_path / "when").read_text())
    assert done.returncode == 1
    assert taken < SECONDS
    ours = done.stderr.partition("torch/distributed/elastic")[0]
    assert not WHAT[what] or ours.count(WHAT[what]) == 1, done.stderr
    assert ours.count("error") <= 1, done.stderr
    assert "Traceback" not in ours, done.stderr


class Signs:
    """A store in which another machine gives signs until it is told to be silent."""

    def __init__(self):
        self.count, self.silent = 0, False

    def set(self, key, value):
        pass

    def check(self, keys):
        return True

    def get(self, key):
        self.count += not self.silent
        return str(self.count).encode()


def test_a_machine_that_gives_no_sign_is_missed_and_others_are_not(monkeypatch):
    signs, ended = Signs(), threading.Event()
    environment = {"GROUP_WORLD_SIZE": "2", "GROUP_RANK": "0", "LOCAL_RANK": "0"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(peers, "_store", lambda: signs)
    monkeypatch.setattr(peers, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(peers, "SILENCE_SECONDS", 3.0)
    said = []

    def end(message):
        said.append(message)
        ended.set()

    with peers.watched(end):
        assert not ended.wait(6)
        signs.silent = True
        assert ended.wait(60)
    assert said[0].startswith("nothing was heard of machine 1 of this run for 3 s")


def test_one_process_alone_speaks_and_watches_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = threading.active_count()
    with peers.watched(lambda message: None):
        assert threading.active_count() == before
    assert peers.is_first_to_say("anything")
    assert not peers.is_lost(RuntimeError("Connection closed by peer"))
