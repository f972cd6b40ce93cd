"""What the Hugging Face Hub answers, as one clear line: endpoint, repository, cause, next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ftkit.errors import HubError


@contextmanager
def hub_errors(what: str, name: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the Hub's clients raise inside the block into a `HubError`.

    Args:
        what: "backbone" or "data set".
        name: the id that was asked for.
    """
    try:
        yield
    except (OSError, HfHubHTTPError, HFValidationError, ConnectionError) as error:
        raise HubError(f"{what} '{name}': {_cause(error, revision)}") from error


def _cause(error: BaseException, revision: str | None) -> str:
    """Return why it failed and what to do, looking through the errors that clients wrap."""
    endpoint = constants.ENDPOINT
    chain = list(_chain(error))
    if _any(chain, GatedRepoError):
        return f"access is by request; ask for it at {endpoint} and log in with 'hf auth login'"
    if _any(chain, RevisionNotFoundError):
        return f"{endpoint} has it, but not at revision '{revision}'"
    if _any(chain, HFValidationError):
        return "no local file or folder of that name, and it cannot be a Hub id (owner/name)"
    if constants.HF_HUB_OFFLINE:
        return "not in the local cache, and HF_HUB_OFFLINE is set"
    unreachable = _named(chain, "ConnectError", "ConnectionError", "ConnectTimeout")
    if unreachable or _any(chain, LocalEntryNotFoundError):
        return (
            f"no local file or folder of that name, not in the local cache, and {endpoint} cannot "
            f"be reached; check the network, or give a local path"
        )
    if _any(chain, RepositoryNotFoundError) or _named(chain, "DatasetNotFoundError"):
        return (
            f"no local file or folder of that name, and {endpoint} has none that you can see; "
            f"check the spelling, or log in with 'hf auth login' if it is private"
        )
    if _any(chain, EntryNotFoundError):
        return f"{endpoint} has the repository, but a file is missing: {_line(error)}"
    return _line(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _any(chain: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(error, kind) for error in chain)


def _named(chain: list[BaseException], *names: str) -> bool:
    """True where an error's class has one of these names: the HTTP library changes, names stay."""
    return any(type(error).__name__ in names for error in chain)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
