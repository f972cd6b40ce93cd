"""A sixth of scripts/attack.py: odd rows, damage, full disks, strangers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EVERY = 6


@pytest.mark.timeout(7200)  # some two hundred commands, each with a limit of its own
def test_a_sixth_of_the_attacks_holds(tmp_path):
    words = [sys.executable, ROOT / "scripts/attack.py", "--every", str(EVERY), "--at-once", "1"]
    words += ["--limit", "300"]  # a busy machine makes an import of torch last a minute
    done = subprocess.run(
        [*words, "--keep", tmp_path], capture_output=True, text=True, cwd=tmp_path
    )
    failed = re.findall(r"^FAILED .*", done.stdout, re.M)
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, done.stderr
    tries, *_ = re.findall(r"^(\d+) tries, 0 failed", done.stdout, re.M)
    assert int(tries) * EVERY >= 400
