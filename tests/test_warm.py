"""A forked Python does as an ordinary one: words, streams, environment, status, signals."""

import os
import signal
import subprocess
import sys

import pytest
import warm

PYTHONS = {"warm": warm.python, "ordinary": lambda *words: [sys.executable, *words]}


@pytest.fixture(params=PYTHONS)
def python(request):
    return PYTHONS[request.param]


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.skipif(len(warm.python()) == 1, reason="every Python is an ordinary one here")
def test_libraries_are_there_at_once_and_ftkit_is_not():
    code = "import sys; print('torch' in sys.modules, 'ftkit' in sys.modules, sys.executable)"
    assert run(warm.python("-c", code)).stdout == f"True False {warm.executable()}\n"
    other = run(warm.python("-c", code), env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert other.stdout == f"False False {sys.executable}\n"  # it may be read in an import


def test_words_folder_environment_and_streams_are_the_askers(python, tmp_path):
    code = (
        "import os, sys; sys.stderr.write(input()); "
        "print(sys.argv, __name__, os.environ['COLOUR'], os.getcwd())"
    )
    done = run(
        python("-c", code, "a b", "--c"),
        input="Grüße\n",
        cwd=tmp_path,
        env=os.environ | {"COLOUR": "red"},
    )
    assert done.stdout == f"['-c', 'a b', '--c'] __main__ red {tmp_path}\n"
    assert done.stderr == "Grüße"


def test_modules_and_scripts_are_run_as_python_runs_them(python, tmp_path):
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    (tmp_path / "script.py").write_text(
        "import sys, beside\n"
        "if __name__ == '__main__':\n"
        "    print(__file__, sys.argv, beside.NAME)\n"
    )
    script = str(tmp_path / "script.py")
    assert run(python(script, "x")).stdout == f"{script} {[script, 'x']} beside\n"
    done = run(python("-m", "script", "x"), cwd=tmp_path)
    assert done.stdout == f"{script} {[script, 'x']} beside\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no')", 1, "no"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import atexit, sys; atexit.register(print, 'end', file=sys.stderr)", 0, "end"),
        ("import os; os.execlp('sh', 'sh', '-c', 'echo other >&2; exit 3')", 3, "other"),
    ],
)
def test_the_status_and_the_last_words_are_the_same(code, status, said, python):
    done = run(python("-c", code))
    assert done.returncode == status
    assert (done.stderr.splitlines() or [""])[-1] == said


def test_a_signal_reaches_it(python):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print('ready', flush=True)\n"
        "time.sleep(300)"
    )
    process = subprocess.Popen(python("-c", code), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 143
    process.stdout.close()


def test_it_ends_when_who_asked_for_it_is_killed(python):
    """Its end of a pipe is closed then."""
    code = "import time; print('ready', flush=True); time.sleep(600)"
    process = subprocess.Popen(python("-c", code), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert process.stdout.read() == ""
    process.wait(300)
    process.stdout.close()
