"""Ask the warm server for a child, and be it to whoever waits: its signals, its exit status.

Where the server is gone, or the environment differs in what libraries read when they are imported,
this becomes an ordinary Python with the same words.
"""

import array
import json
import os
import signal
import socket
import sys

place, *words = sys.argv[1:]
READ_AT_IMPORT = (
    *("CUDA_", "DATASETS_", "DISABLE_", "HF_", "HOME", "HUGGINGFACE_", "LANG", "LC_"),
    *("LD_", "MKL_", "MPL", "NO_PROXY", "NUMEXPR_", "OMP_", "OPENBLAS_", "PYTHON"),
    *("TOKENIZERS_", "TORCH_", "TRANSFORMERS_", "USE_", "XDG_"),
)
READ_LATER = {
    "HF_TOKEN",
    "HF_XET_CACHE",  # by hf_xet, when it sends or fetches for the first time
    "PYTHONBREAKPOINT",  # Ray leaves it behind
    "PYTHON_EXEC",  # for torchrun
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",  # by torchrun, for its ranks
}


def read_at_import(environment):
    """Return what a library may have read once and for all."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT) and name not in READ_LATER
    }


def environment_of_server():
    """Return what the libraries of the server may have read."""
    with open(f"{place}.json", encoding="utf-8") as file:
        return read_at_import(json.load(file))


def start_cold():
    """Become an ordinary Python."""
    os.execv(sys.executable, [sys.executable, *words])


def ask(connection):
    """Send the words, the environment and the three streams."""
    order = {
        "words": words,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "umask": os.umask(0),
    }
    os.umask(order["umask"])
    message = json.dumps(order).encode()
    streams = array.array("i", [0, 1, 2])
    start = b"%d\n" % len(message)
    connection.sendmsg([start], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    connection.sendall(message)


def main():
    if read_at_import(os.environ) != environment_of_server():
        start_cold()
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(place)
        ask(connection)
    except OSError:
        start_cold()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    said = connection.makefile().readline()
    if not said:
        sys.exit("the warm server went away")
    status = int(said)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


main()
