"""A Hub of the tests' own: unmodified Hugging Face clients work against it on the loopback.

It keeps models and data sets in memory and moves large files both ways, over LFS and over Xet.
Faults are real ones, made on the socket. What the clients need and do was measured with
huggingface_hub 2.4 and hf_xet 1.8.

    hub = Hub()                                   # listens on 127.0.0.1, a free port
    repository = hub.add("alice/tiny", files={"config.json": b"{}"})
    hub.fault("GET .*resolve", "status", code=503, times=1)
    hub.log                                       # every request so far
"""

from hub_server.faults import Fault, Seen
from hub_server.repository import Blob, Repository
from hub_server.server import OWNER, READER, STRANGER, Hub

__all__ = ["OWNER", "READER", "STRANGER", "Blob", "Fault", "Hub", "Repository", "Seen"]
