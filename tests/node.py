"""Node and npm packages, where they are installed: what JavaScript says of an export."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")


@functools.cache
def package(name):
    """The folder of node_modules that has this npm package, or None."""
    places = [os.environ.get("FTKIT_NODE_MODULES"), "node_modules"]
    if npm := shutil.which("npm"):
        done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True)
        places.append(done.stdout.strip())
    return next((Path(place) for place in places if place and (Path(place) / name).is_dir()), None)


def require(*names):
    """The folder of node_modules that has these packages. A test without them is skipped."""
    found = {package(name) for name in names}
    if NODE is None or None in found or len(found) != 1:
        wanted = " ".join(names)
        pytest.skip(f"needs Node and: npm install {wanted}; FTKIT_NODE_MODULES=FOLDER says where")
    return found.pop().resolve()


def ask(folder, kind, rows):
    """What transformers.js says of rows: of each {class: probability}."""
    modules = require("@huggingface/transformers")
    script = Path(__file__).with_name("transformers_js.mjs")
    done = subprocess.run(
        [NODE, script, modules, folder, kind],
        input=json.dumps(rows), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.rpartition("@@")[2])
    return [{one["label"]: one["score"] for one in answer} for answer in answers]
