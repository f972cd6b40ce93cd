"""The wheel holds ftkit and recipes, and works without the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_an_installed_wheel_knows_its_recipes(tmp_path):
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignore)
    quiet = {"check": True, "capture_output": True, "text": True}
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*build, source], **quiet)
    (wheel,) = tmp_path.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, tmp_path / "site", wheel], **quiet)
    code = (
        "import ftkit, recipes, sys; from ftkit import registry; "
        "print(ftkit.__file__); print(recipes.__file__); print(*registry.names())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        **quiet,
    )
    lines = done.stdout.splitlines()
    assert all(line.startswith(str(tmp_path / "site")) for line in lines[:2])
    assert {"vit-cifar", "effnet-digits"} <= set(lines[2].split())
    assert (tmp_path / "site" / "ftkit" / "py.typed").exists()
