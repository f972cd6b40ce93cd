"""A sixth of scripts/attack.py: odd rows, damage, full disks, strangers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from attacks import KINDS  # noqa: E402

EVERY = 6
SHARES = [["rows"], ["damage", "output"], ["asked", "folders"], ["strangers", "names", "reports"]]
"""So that each share ends in time on a busy machine too."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the first call leaves what the others copy from."""
    return tmp_path_factory.mktemp("attack")


@pytest.mark.timeout(1500)  # some fifty commands
@pytest.mark.parametrize("kinds", SHARES, ids=" ".join)
def test_a_sixth_of_the_attacks_holds(kinds, folder):
    words = [sys.executable, ROOT / "scripts/attack.py", "--every", str(EVERY), "--at-once", "1"]
    words += ["--limit", "300"]  # a busy machine makes an import of torch last a minute
    done = subprocess.run(
        [*words, "--keep", folder, *kinds], capture_output=True, text=True, cwd=folder
    )
    failed = re.findall(r"^FAILED .*", done.stdout, re.M)
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, done.stderr
    tries, *_ = re.findall(r"^(\d+) tries, 0 failed", done.stdout, re.M)
    assert int(tries) * EVERY >= 400 / len(SHARES)
    counts = dict(re.findall(r"(\w+) (\d+)", done.stdout.splitlines()[-2]))
    assert all(int(counts[kind]) >= 9 for kind in kinds)


def test_every_kind_of_attack_has_its_share():
    assert sorted(kind for kinds in SHARES for kind in kinds) == sorted(KINDS)
