"""The real Hub, for a machine that reaches it: FTKIT_LIVE_HUB=1 pytest tests/test_hub_live.py.

All other tests stand on a Hub of their own, which was made from what the clients ask for. This one
looks that the real one answers as that one does: it reads, and writes nothing.
"""

import os
import subprocess
import sys

import pytest

CODE = """
from ftkit import Backbone, HubError
from ftkit.runs.pinning import pin
from ftkit.hub.download import fetch, resolve
from ftkit.registry import find, names

for name in names():
    print(name, pin(find(name)).backbone.revision)
folder = fetch("timm/test_resnet.r160_in1k")
assert (folder / "model.safetensors").stat().st_size > 100_000
assert fetch("timm/test_resnet.r160_in1k") == folder
for id, revision, words in (
    ("timm/no-such-model-of-ftkit", None, "has none that you can see"),
    ("timm/test_resnet.r160_in1k", "nowhere", "not at revision 'nowhere'"),
):
    try:
        resolve("model", id, revision)
    except HubError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{id} at {revision} was found")
"""


@pytest.mark.skipif(os.environ.get("FTKIT_LIVE_HUB") != "1", reason="FTKIT_LIVE_HUB=1 asks for it")
def test_the_real_hub_answers_as_the_tests_own_does(tmp_path):
    ours = ("HF_ENDPOINT", "HF_TOKEN", "NO_PROXY")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        env=environment | {"HF_HOME": str(tmp_path), "HF_HUB_DOWNLOAD_TIMEOUT": "10"},
    )
    assert done.returncode == 0, done.stderr
