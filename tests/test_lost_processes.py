"""A process that cannot go on: all end soon, and its message is the one that is said, once."""

import os
import subprocess
import sys
import time
from datetime import timedelta

import psutil
import pytest
import warm
from torch.distributed import TCPStore

from ftkit.machine import heartbeat, processes

SECONDS = 300.0
"""What all processes may take to end on a busy machine; gloo alone waits for half an hour."""
SCRIPT = """
import os, sys, time
from ftkit.strategies.full import FullStrategy
from ftkit.cli.main import main
from ftkit.errors import TrainingError

def train(*arguments, **rest):
    if os.environ["RANK"] == "1":
        open("when", "w").write(str(time.time()))
        {what}
    import torch
    torch.distributed.all_reduce(torch.zeros(1))  # as in each step of training

FullStrategy.train = train
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
    command = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "script.py")
    done = subprocess.run(
        warm.python(*command),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
    )
    taken = time.time() - float((tmp_path / "when").read_text())
    assert done.returncode == 1
    assert taken < SECONDS
    ours = done.stderr.partition("torch/distributed/elastic")[0]
    assert not WHAT[what] or ours.count(WHAT[what]) == 1, done.stderr
    assert ours.count("error") <= 1, done.stderr
    assert "Traceback" not in ours, done.stderr


PARENT = """
import sys, time
from ftkit.machine.heartbeat import watching_machines

with watching_machines(6.0):
    print("watching", flush=True)
    time.sleep(120)
"""


def test_a_machine_that_gives_no_sign_is_missed_and_the_run_here_ended():
    kept = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        "GROUP_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(kept.port),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],  # what watches it looks for its parent
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    here, there = processes.store_key("sign", "0"), processes.store_key("sign", "1")
    kept.wait([here], timedelta(seconds=100))  # this machine gives signs
    for count in range(10):  # and so does the other one
        kept.set(there, str(count))
        time.sleep(1)
    assert process.poll() is None
    _, said = process.communicate(timeout=100)  # and now no longer
    assert process.returncode == -9
    assert said.startswith("error: nothing was heard of machine 1 of this run for 6 s")


def test_one_process_alone_speaks_and_watches_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = set(psutil.Process().children())
    with heartbeat.watching_machines():
        assert not set(psutil.Process().children()) - before
    assert processes.is_first_to_say("anything")
    assert not processes.is_lost(RuntimeError("Connection closed by peer"))
