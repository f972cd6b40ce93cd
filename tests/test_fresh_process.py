"""What lies in the working directory is not taken for a module."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ftkit.cli import doctor
from ftkit.machine import fresh_process

NAMES = ("random", "numpy", "json", "types", "datasets", "evaluate")


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A working directory with files named as modules of Python and of others."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    for name in ("torch", "recipes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fresh_process_imports_what_this_one_would(foreign, monkeypatch):
    mine = foreign.parent / "mine"
    mine.mkdir(exist_ok=True)
    (mine / "shown.py").write_text(
        "import json, random, sys, types\n"
        "import ftkit, recipes\n"
        "print(json.dumps([random.__file__, recipes.__file__, sys.argv[1:], __name__]))\n"
    )
    monkeypatch.syspath_prepend(str(mine))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for here in ("", os.getcwd()):
        monkeypatch.setattr(sys, "path", [here, *sys.path])
        done = subprocess.run(fresh_process.command("shown", "a b"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert '["a b"], "__main__"' in done.stdout
        assert str(foreign) not in done.stdout


def test_the_path_keeps_what_the_user_put_there_and_drops_the_working_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/users", "/lib"])
    assert fresh_process.search_path()[:2] == ["/users", "/lib"]
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path), "/lib"])  # PYTHONPATH=.
    assert fresh_process.search_path()[:2] == [str(tmp_path), "/lib"]
    monkeypatch.setattr(sys, "path", ["/bin", "/lib"])
    assert fresh_process.search_path()[:2] == ["/bin", "/lib"]


def test_the_command_line_runs_as_a_module_beside_foreign_files(foreign):
    given = {**os.environ, "PYTHONPATH": str(Path(fresh_process.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "ftkit.cli", "show", "mlp-text"],
        capture_output=True,
        text=True,
        env=given,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctor_is_not_misled(foreign, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert doctor._try("import random; print('{}')") == {}


ECHO = """
import json, sys
for line in sys.stdin:
    print(f"heard {json.loads(line)}", file=sys.stderr)
    if "fail" in line:
        raise SystemExit("it failed")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "echo.py").write_text(ECHO)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "mine"), *sys.path])
    return "echo"


@pytest.mark.parametrize(
    ("orders", "end"),
    [
        ([["a", "b c"]], (0, "heard ['a', 'b c']")),
        ([["a"], ["\u00e9\n"]], (0, "heard ['\u00e9\\n']")),
        ([["fail"], ["a"]], (1, "it failed")),
        ([], (0, "no output")),
    ],
)
def test_a_waiting_process_carries_out_its_orders(module, cold, orders, end):
    assert fresh_process.Waiting(module).carry_out(orders) == end


def test_a_waiting_process_ends_when_it_is_told_to_or_killed(module, cold):
    waiting = fresh_process.Waiting(module)
    assert not waiting.has_ended()
    waiting.end()
    assert waiting.has_ended()


def test_a_waiting_process_ends_with_the_one_that_started_it(module, cold):
    code = (
        "import os, time; from ftkit.machine.fresh_process import Waiting; "
        f"import sys; sys.path.insert(0, {sys.path[0]!r}); "
        "print(Waiting('echo').process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    child = psutil.Process(int(done.stdout)) if psutil.pid_exists(int(done.stdout)) else None
    assert done.returncode == -9
    if child is not None:
        child.wait(60)
