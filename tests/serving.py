"""A service in a thread of the tests, and exported models that are made up."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from ftkit.exported.about import About
from ftkit.exported.model import Exported
from ftkit.serving.limits import Limits
from ftkit.serving.run import listen, server_for

HTTP = httpx.Client(trust_env=False, timeout=30)
"""One client for all tests; a new one takes a third of a second."""


@contextlib.contextmanager
def served(exported, limits=None, token=None):
    """Serve an exported model for the block, and give its address."""
    address = listen("127.0.0.1", 0)
    server = server_for(exported, address, limits or Limits(), token)
    thread = threading.Thread(target=server.run, args=([address.listener],))
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield address.url
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class MadeUp:
    """An engine that answers by a function of the rows, and remembers its batches."""

    metadata = {}  # noqa: RUF012 - as the protocol has it

    def __init__(self, logits, tells):
        self.logits, self.tells, self.batches = logits, tells, []

    def run(self, inputs):
        rows = inputs["rows"]
        self.batches.append(list(rows))
        logits = np.array([self.logits(row) for row in rows], np.float32)
        if self.tells == "number":
            return {"logits": logits}
        if self.tells == "tags":
            return {"logits": logits, "probabilities": 1 / (1 + np.exp(-logits))}
        powers = np.exp(logits)
        return {"logits": logits, "probabilities": powers / powers.sum(1, keepdims=True)}


def made_up(logits, tells="class", classes=("cat", "dog", "eel"), reads="ngrams", **about):
    """An exported model that answers each row by a function from it to its logits."""
    return Exported(
        Path("model.onnx"),
        About(reads, tells, f"made-up-{reads}", tuple(classes), **about),
        MadeUp(logits, tells),
        lambda rows: [(list(range(len(rows))), {"rows": rows})],
    )
