"""As many threads as there are cores for this process, and soon asleep while they wait."""

import os
import subprocess
import sys

import pytest
import torch

from ftkit.machine import control_groups, threads
from ftkit.machine.threads import fit_threads, usable_cores


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write files of control groups, of which this process is in /a/b."""
    own, root = tmp_path / "cgroup", tmp_path / "groups"
    monkeypatch.setattr(control_groups, "ROOT", root)
    monkeypatch.setattr(control_groups, "OWN", own)
    monkeypatch.setattr(threads, "allowed_cores", lambda: 8)
    monkeypatch.setattr(threads, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)

    def write(line, **files):
        own.write_text(f"{line}\n")
        for name, text in files.items():
            file = root / name.replace("__", ".").replace("_OF_", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")

    return write


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"a_OF_b_OF_cpu__max": "max 100000"}, 8),
        ({"a_OF_b_OF_cpu__max": "100000 100000"}, 1),
        ({"a_OF_b_OF_cpu__max": "250000 100000"}, 3),
        ({"a_OF_b_OF_cpu__max": "20000 100000"}, 1),
        ({"a_OF_cpu__max": "200000 100000", "a_OF_b_OF_cpu__max": "max 100000"}, 2),
        ({"a_OF_cpu__max": "200000 100000", "a_OF_b_OF_cpu__max": "400000 100000"}, 2),
        ({"cpu__max": "9900000 100000"}, 8),
    ],
)
def test_a_quota_of_version_2_limits_the_cores(groups, files, cores):
    groups("0::/a/b", **files)
    assert usable_cores() == cores


@pytest.mark.parametrize(("quota", "period", "cores"), [(-1, 100000, 8), (150000, 50000, 3)])
def test_a_quota_of_version_1_limits_the_cores(groups, quota, period, cores):
    place = "cpu_OF_a_OF_b_OF_cpu__cfs_"
    groups("4:cpu,cpuacct:/a/b", **{f"{place}quota_us": quota, f"{place}period_us": period})
    assert usable_cores() == cores


def test_threads_fall_asleep_and_are_no_more_than_a_quota_allows(groups, monkeypatch):
    for name in (*threads.WAITING, "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is as before after the test
        monkeypatch.delenv(name)
    groups("0::/a/b", a_OF_b_OF_cpu__max="200000 100000")
    fit_threads()
    assert (os.environ["GOMP_SPINCOUNT"], os.environ["OMP_NUM_THREADS"]) == ("10000", "2")


@pytest.mark.parametrize(
    ("load", "others", "turns"),
    [
        ("0.00 0.01 0.05 1/847 11206", 0, "10000"),
        ("9.00 9.01 9.05 1/847 11206", 0, "10000"),  # they have gone
        ("0.00 0.01 0.05 3/847 11206", 2, "10000"),
        ("0.00 0.01 0.05 4/847 11206", 3, "0"),
        ("0.00 0.01 0.05 2/847 11206", 1, "10000"),
        ("0.00 0.01 0.05 99/847 11206", 98, "0"),
        ("something else", 0, "10000"),
        ("", 0, "10000"),
    ],
)
def test_threads_sleep_at_once_where_others_want_their_cores(
    groups, monkeypatch, tmp_path, load, others, turns
):
    """Eight of ten cores may be used."""
    groups("0::/a/b")
    for name in threads.WAITING:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "loadavg").write_text(f"{load}\n")
    assert threads.others_running() == others
    assert threads.fitting()["GOMP_SPINCOUNT"] == turns


@pytest.mark.skipif(not threads.LOAD.exists(), reason="this system does not tell")
def test_neighbours_are_seen():
    few = min(threads.others_running() for _ in range(3))
    count = os.cpu_count() + few + 1
    neighbours = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)
    ]
    try:
        seen = [threads.others_running() for _ in range(20)]
        assert max(seen) > os.cpu_count()
    finally:
        for each in neighbours:
            each.kill()
            each.wait()


def test_without_a_quota_the_number_of_threads_is_left_to_openmp(groups, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    groups("0::/a/b")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    fit_threads()
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("name", threads.WAITING)
def test_what_the_user_has_said_stays(groups, monkeypatch, name):
    for other in threads.WAITING:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    groups("0::/a/b", a_OF_b_OF_cpu__max="200000 100000")
    before = dict(os.environ)
    fit_threads()
    assert dict(os.environ) == before


def test_a_command_says_it_before_torch_is_loaded():
    """A command in its own Python: what OpenMP read is what it says of itself when asked to."""
    code = (
        "from ftkit.machine import threads; threads.others_running = lambda: 0; "
        "from ftkit.cli.main import main; main(['list']); import sys; "
        "assert 'torch' not in sys.modules; import torch; torch.ones(9, 9) @ torch.ones(9, 9)"
    )
    without = {name: value for name, value in os.environ.items() if name not in threads.WAITING}
    told = {"OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=without | told, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if "OPENMP" not in done.stderr.upper():
        pytest.skip(f"torch {torch.__version__} has no OpenMP here")
    assert "GOMP_SPINCOUNT = '10000'" in done.stderr
