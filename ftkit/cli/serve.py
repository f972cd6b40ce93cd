"""`ftkit serve`: a run's model, or an export, as a service that answers over HTTP."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from ftkit.cli.folders import at_home
from ftkit.cli.options import Count, Port, Seconds
from ftkit.errors import ModelError, RecipeError, RunError
from ftkit.exported.engines import require
from ftkit.exported.model import Exported, is_export, open_export
from ftkit.machine.near_paths import nearest_path
from ftkit.machine.streams import Console
from ftkit.machine.terminal import speak

TOKEN = "FTKIT_SERVE_TOKEN"
SHORTEST = 8
"""Characters of a token at least."""
EXPORT = Path("export") / "onnx"


def serve(
    run_or_export: Path,
    *,
    host: str = "127.0.0.1",
    port: Port = 8000,
    token: str | None = None,
    max_body: Count = 20_000_000,
    max_pixels: Count = 50_000_000,
    max_tokens: Count = 4_096,
    queue: Count = 128,
    timeout: Seconds = 30.0,
    threads: Count | None = None,
) -> None:
    """Answer requests over HTTP, as huggingface_hub.InferenceClient sends them, and at / people.

    SIGTERM or Ctrl-C ends it when all that was let in has been answered.

    Parameters
    ----------
    run_or_export
        Folder of a finished run, which is exported first if it has not been, or of an export.
    host
        Address to listen on; 0.0.0.0 lets other machines ask.
    port
        Port to listen on; 0 takes a free one and says which.
    token
        Each request must bring it as 'Authorization: Bearer TOKEN'. FTKIT_SERVE_TOKEN in the
        environment says the same, and other users of this machine do not see it there.
    max_body
        Bytes of a request at most.
    max_pixels
        Pixels of an image at most.
    max_tokens
        Tokens of a text at most; what the model cannot read of it is cut off before.
    queue
        Requests that may wait; more get 503 and are told when to ask again.
    timeout
        Seconds that a request may take.
    threads
        That one answer may use; all cores when not given.
    """
    for package in ("starlette", "uvicorn", "prometheus_client", "onnxruntime"):
        require(package)
    from ftkit.serving.limits import Limits
    from ftkit.serving.run import listen, server_for
    from ftkit.serving.run import serve as answer

    limits = Limits(max_body, max_pixels, max_tokens, queue=queue, timeout=timeout)
    token = _token(token)
    speak(quieten=False)
    address = listen(host, port)
    exported = _exported(Path(at_home(run_or_export) or run_or_export), threads)
    about = exported.about
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    if not _is_near(host) and token is None:
        line = f"whoever reaches this machine may ask: --token or {TOKEN} asks for a token"
        console.print(line, markup=False)
    many = f", {len(about.classes)} classes" if about.classes else ""

    def ready() -> None:
        said = f"{exported.file} ({about.task}{many}) answers at {address.url} until Ctrl-C"
        print(said, flush=True)

    answer(server_for(exported, address, limits, token, threads), address, ready)
    console.print("stopped; all requests that were let in have been answered", markup=False)


def _exported(path: Path, threads: int | None) -> Exported:
    """Return the export at a path, or that of the run there, made first if there is none.

    Raises:
        RunError: there is neither.
        ModelError: the export is not one of the run's present model.
    """
    if is_export(path):
        return open_export(path, threads)
    if not path.exists():
        raise RunError(f"there is no run and no export at {path}{nearest_path(str(path))}")
    folder = path / EXPORT
    if not is_export(folder):
        from ftkit.shipping.export import export

        speak()
        export(path)
    exported = open_export(folder, threads)
    from ftkit.hub.checksums import model_checksums

    made_of = dict(exported.about.model_sha256)
    if (path / "model").is_dir() and model_checksums(path / "model") != made_of:
        again = f"ftkit export {path} --overwrite"
        raise ModelError(f"{folder} was made of another model than {path} has now: {again}")
    return exported


def _token(given: str | None) -> str | None:
    """Return the token, from the flag or the environment.

    Raises:
        RecipeError: it cannot be sent in a header, or could be guessed.
    """
    token = given if given is not None else os.environ.get(TOKEN)
    if token is None:
        return None
    where = TOKEN if given is None else "--token"
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise RecipeError(
            f"{where}: expected {SHORTEST} or more letters, digits and signs without spaces; "
            f"python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
        )
    return token


def _is_near(host: str) -> bool:
    """Return whether only programs of this machine reach this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
