"""Two hosts: network namespaces with a cable between them, a process of one run in each.

Only where they are asked for, `pytest -m two_hosts`, and where root may make namespaces (Linux,
iproute2). docs/processes.md has what came out.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "scripts" / "accelerate" / "two_hosts.yaml"
HOSTS = ("ftkit-one", "ftkit-two")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
pytestmark = [pytest.mark.two_hosts, pytest.mark.timeout(900)]


def ip(*words, check=True):
    """Run `ip`."""
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Make two namespaces, each with one end of a veth pair."""
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` (iproute2) here")
    if ip("netns", "add", HOSTS[0], check=False).returncode:
        pytest.skip("no right to make network namespaces here")
    try:
        ip("netns", "add", HOSTS[1])
        ends = [f"{name}-0" for name in HOSTS]
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, end, address in zip(HOSTS, ends, ADDRESSES, strict=True):
            ip("link", "set", end, "netns", host)
            ip("-n", host, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", host, "link", "set", end, "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for host in HOSTS:
            for pid in ip("netns", "pids", host, check=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", host, check=False)


def start(host, folder, *words):
    """Start the run's process on that host, with a working folder of its own."""
    place = folder / HOSTS[host]
    place.mkdir(exist_ok=True)
    command = ["ip", "netns", "exec", HOSTS[host], "accelerate", "launch"]
    command += ["--config_file", FILE, "--cpu", "--num_processes", "2"]
    command += ["--machine_rank", str(host), "--main_process_ip", ADDRESSES[0]]
    command += [ROOT / "scripts" / "finetune.py", *words, "--out", folder / "out"]
    with (place / "said").open("a") as said:
        return subprocess.Popen(
            [*map(str, command)],
            cwd=place,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env=os.environ | {"FTKIT_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"},
        )


def said(folder, host):
    """Return what that host's process has said."""
    return (folder / HOSTS[host] / "said").read_text()


def wait(process, host, folder):
    """Wait for the end of a host's process and return its status."""
    try:
        return process.wait(200)
    except subprocess.TimeoutExpired:
        pytest.fail(f"host {host} does not end; it said\n{said(folder, host)}")


def lines(out, name):
    """Return one figure of log.jsonl, by step."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {entry["step"]: entry[name] for entry in entries if name in entry}


@pytest.fixture
def words(tiny_recipe, tmp_path):
    """The command line of a run of many steps, without dropout."""
    backbone = tmp_path / "vit"
    shutil.copytree(tiny_recipe.backbone.id, backbone)
    config = json.loads((backbone / "config.json").read_text()) | {"hidden_dropout_prob": 0.0}
    (backbone / "config.json").write_text(json.dumps(config))
    recipe = tiny_recipe.override({"backbone.id": str(backbone), "data.test_fraction": 0.35})
    (tmp_path / "mine.json").write_text(recipe.to_json())
    return ["--recipe", str(tmp_path / "mine.json")]


def alone(words, out):
    """Train the same in one process."""
    command = ["ftkit", "train", *words, "--out", out]
    subprocess.run([*map(str, command)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_two_hosts_make_the_run_of_one_process(hosts, words, tmp_path):
    processes = [start(host, tmp_path, *words) for host in (0, 1)]
    assert [each.wait(600) for each in processes] == [0, 0], said(tmp_path, 0) + said(tmp_path, 1)
    alone(words, tmp_path / "alone")
    two, one = tmp_path / "out", tmp_path / "alone"
    assert json.loads((two / "run.json").read_text())["world_size"] == 2
    for name in ("loss", "validation_loss"):
        expected, found = lines(one, name), lines(two, name)
        assert found.keys() == expected.keys()
        worst = max(abs(found[step] - value) / value for step, value in expected.items())
        print(f"{name}: {len(found)} values, largest relative difference {worst:.1e}")
        assert worst < 1e-5
    index = [pq.read_table(run / "predictions.parquet")["index"].to_pylist() for run in (one, two)]
    assert index[0] == index[1]
    assert "parameters trained" not in said(tmp_path, 1)  # the first host alone speaks


def wait_for_checkpoint(out, processes):
    """Wait until two checkpoints were written."""
    deadline = time.monotonic() + 600
    while len(list(out.glob("checkpoints/checkpoint-*"))) < 2:
        assert time.monotonic() < deadline
        assert all(each.poll() is None for each in processes)
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["cable", "power"])
def test_a_host_that_is_cut_off_ends_the_other_and_resume_goes_on(how, hosts, words, tmp_path):
    long = [*words, "--epochs", "200"]
    processes = [start(host, tmp_path, *long) for host in (0, 1)]
    try:
        wait_for_checkpoint(tmp_path / "out", processes)
        time.sleep(25)  # until both have given signs of life
        begin = time.monotonic()
        ip("-n", HOSTS[1], "link", "set", f"{HOSTS[1]}-0", "down")
        if how == "power":
            os.killpg(processes[1].pid, signal.SIGKILL)
        ended = [wait(each, host, tmp_path) for host, each in enumerate(processes)]
        print(f"{how}: both ended after {time.monotonic() - begin:.0f} s with {ended}")
        assert ended[0] == 1
        errors = [line for line in said(tmp_path, 0).splitlines() if line.startswith("error")]
        assert len(errors) == 1, said(tmp_path, 0)
        assert "nothing was heard of machine 1 of this run for 60 s" in errors[0]
        assert "--resume" in errors[0]
        if how == "cable":
            assert "nothing was heard of machine 0" in said(tmp_path, 1)
        assert not (tmp_path / "out" / "run.json").exists()
    finally:
        for each in processes:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
    before = max(lines(tmp_path / "out", "validation_loss"))
    ip("-n", HOSTS[1], "link", "set", f"{HOSTS[1]}-0", "up")
    processes = [start(host, tmp_path, *long, "--resume") for host in (0, 1)]
    assert [each.wait(600) for each in processes] == [0, 0], said(tmp_path, 0) + said(tmp_path, 1)
    steps = list(lines(tmp_path / "out", "validation_loss"))
    assert len(steps) == len(set(steps)) == 200
    assert before in steps
    assert "going on from" in said(tmp_path, 0)
