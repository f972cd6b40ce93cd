"""What the Hugging Face Hub answers, as one clear line: endpoint, repository, cause, next step.

`patiently` tries again what the Hub's clients give up on at once; both are used by
`ftkit.hub.download` and `ftkit.publishing.push`.
"""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from huggingface_hub import constants, get_session
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import httpx

from ftkit.errors import FtkitError, HubError
from ftkit.errors.addresses import without_secrets

log = logging.getLogger(__name__)
Value = TypeVar("Value")
WAITS = (1.0, 3.0)
"""Seconds before the second and the third try."""
LONGEST_WAIT = 60.0
"""ftkit does not wait for a Hub that asks for more seconds."""
SILENCE_SECONDS = 60.0
"""A server that sends nothing for so long has gone; the client itself would wait for ever."""
CLIENT_ERRORS = (
    OSError,
    HfHubHTTPError,
    HFValidationError,
    RevisionResolutionError,
    httpx.HTTPError,
    RuntimeError,
)
"""Errors that huggingface_hub, datasets and hf_xet raise. hf_xet has no type of its own."""
CODE = (
    "it comes with Python code of its own, which runs only with "
    "--set backbone.trust_remote_code=true; add that if you trust its author"
)
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def hub_errors(what: str, name: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the Hub's clients raise inside the block into a `HubError`.

    Args:
        what: "backbone", "data set" or "repository".
        name: the id that was asked for.
    """
    try:
        yield
    except CLIENT_ERRORS as error:
        writing = what == "repository"
        raise HubError(f"{what} '{name}': {_cause(error, revision, writing)}") from error


@contextmanager
def loading_errors(what: str, name: str, broken: type[FtkitError]) -> Iterator[None]:
    """Turn whatever a library raises over a strange file inside the block into one line.

    Args:
        what: "backbone" or "data set".
        name: the id or path that was asked for.
        broken: the error to raise.
    """
    try:
        yield
    except FtkitError:
        raise
    except Exception as error:  # libraries raise anything over a file that is not what it says
        words = CODE if "trust_remote_code" in str(error) else one_line(error)
        raise broken(f"{what} '{name}' cannot be loaded: {words}") from error


def one_line(error: BaseException) -> str:
    """Return an error's message as one line of bounded length, with its kind where that helps."""
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__  # it says itself no more than that there was an error
    words = _line(error)
    plain = isinstance(error, (OSError, ValueError, HfHubHTTPError)) and words
    return words if plain else f"{type(error).__name__}: {words}".removesuffix(": ")


def patiently(work: Callable[[], Value]) -> Value:
    """Return what `work` gives. It is tried up to three times when another try may help.

    That is a broken connection, an error of the server, or a rate limit, which is waited for as
    long as the server asks. A server that nobody answers for is not tried again.
    """
    for wait in WAITS:
        get_session().timeout = SILENCE_SECONDS
        try:
            return work()
        except CLIENT_ERRORS as error:
            chain = list(_chain(error))
            asked = _retry_after(chain)
            if not _may_pass(chain) or (asked or 0) > LONGEST_WAIT:
                raise
            pause = wait if asked is None else asked
            log.info("hub: %s; trying again in %.0f s", _reason(chain), pause)
            time.sleep(pause)
    get_session().timeout = SILENCE_SECONDS
    return work()


def is_unreachable(error: BaseException) -> bool:
    """Return whether the Hub could not be asked at all, so that a cached copy may stand in."""
    chain = list(_chain(error))
    return (
        _any(chain, httpx.TransportError)
        or _named(chain, "OfflineModeIsEnabled", "ConnectionError")
        or _status(chain) >= 500
    )


def _may_pass(chain: list[BaseException]) -> bool:
    status = _status(chain)
    if status:
        return status in {408, 412, 429} or status >= 500
    nobody = _named(chain, "ConnectError", "OfflineModeIsEnabled")
    if nobody or _any(chain, LocalEntryNotFoundError):  # for which the client has tried for long
        return False
    return _any(chain, httpx.TransportError) or _from_xet(chain)


def _cause(error: BaseException, revision: str | None, writing: bool) -> str:
    """Return why it failed and what to do. Errors that clients wrap are looked through."""
    endpoint, chain = constants.ENDPOINT, list(_chain(error))
    status = _status(chain)
    if any(_is_full_disk(e) for e in chain):
        return (
            f"the disk of {constants.HF_HOME} is full; free some space, or set HF_HOME to a folder "
            f"on another disk, and run again: files that are whole are kept"
        )
    if _any(chain, LocalTokenNotFoundError):
        return f"{endpoint} needs to know who you are; log in with 'hf auth login'"
    if _any(chain, GatedRepoError):
        return f"access is by request; ask for it at {endpoint} and log in with 'hf auth login'"
    if _any(chain, RevisionNotFoundError):
        return f"{endpoint} has it, but not at revision '{revision}'"
    if _any(chain, HFValidationError):
        local = "" if writing else "no local file or folder of that name, and "
        return f"{local}it cannot be a Hub id (owner/name)"
    if status == 401 and "Invalid credentials" in " ".join(map(str, chain)):
        return f"{endpoint} rejects your token; make a new one there and run 'hf auth login'"
    if status == 403 or (writing and status == 401):
        return (
            f"{endpoint} gives your token no right to {'write to' if writing else 'read'} it; use "
            f"one that has it ('hf auth login'), or another repository"
        )
    if status == 412:
        return f"somebody else changed it at {endpoint} meanwhile; push again"
    if status == 429:
        wait = _retry_after(chain)
        return f"{endpoint} limits how often it may be asked; try again in {wait or 60:.0f} s"
    if status >= 500:
        return f"{endpoint} has a fault of its own (status {status}); try again later"
    if any("404" in str(e) and "xet-" in str(e) for e in chain):
        return f"{endpoint} has no Xet storage; set HF_HUB_DISABLE_XET=1 and run again"
    if constants.HF_HUB_OFFLINE:
        return "not in the local cache, and HF_HUB_OFFLINE is set"
    unreachable = _named(chain, "ConnectError", "ConnectionError", "ConnectTimeout")
    if unreachable or _any(chain, LocalEntryNotFoundError):
        local = "no local file or folder of that name, not in the local cache, and "
        hint = "check the network" + ("" if writing else ", or give a local path")
        return f"{'' if writing else local}{endpoint} cannot be reached; {hint}"
    if _any(chain, RepositoryNotFoundError) or _named(chain, "DatasetNotFoundError"):
        local = "" if writing else "no local file or folder of that name, and "
        return (
            f"{local}{endpoint} has none that you can see; "
            f"check the spelling, or log in with 'hf auth login' if it is private"
        )
    if _any(chain, EntryNotFoundError):
        return f"{endpoint} has the repository, but a file is missing: {_line(error)}"
    if _any(chain, httpx.TransportError) or _from_xet(chain):
        return (
            f"the connection to {endpoint} broke again and again ({_reason(chain)}); run again: "
            f"files that are whole are kept"
        )
    return _line(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return True
    told = re.search(r"\(os error (\d+)\)", str(error))  # as hf_xet writes it
    return told is not None and int(told[1]) in FULL_DISK


def _any(chain: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(error, kind) for error in chain)


def _named(chain: list[BaseException], *names: str) -> bool:
    """Return whether an error's class has such a name: the HTTP library changes, names stay."""
    return any(type(error).__name__ in names for error in chain)


def _from_xet(chain: list[BaseException]) -> bool:
    return any(isinstance(error, RuntimeError) and "CAS" in str(error) for error in chain)


def _status(chain: list[BaseException]) -> int:
    """Return the status of the first refusal in the chain, 0 where there is none."""
    refusals = [e.response.status_code for e in chain if isinstance(e, HfHubHTTPError)]
    return next((status for status in refusals if status), 0)


def _retry_after(chain: list[BaseException]) -> float | None:
    """Return the seconds that the server asks to wait."""
    for error in chain:
        if isinstance(error, HfHubHTTPError):
            asked = error.response.headers.get("Retry-After", "")
            if asked.isdigit():
                return float(asked)
    return None


def _reason(chain: list[BaseException]) -> str:
    """Return the innermost cause in a few words."""
    status = _status(chain)
    if status:
        return f"{constants.ENDPOINT} answered {status}"
    return _line(chain[-1])[:120] or type(chain[-1]).__name__


def _line(error: BaseException) -> str:
    """Return the message as one line, without what stands after the path of an address."""
    line = without_secrets(" ".join(str(error).split()))
    return re.sub(r"hf_\w+", "hf_***", line)[:300]
