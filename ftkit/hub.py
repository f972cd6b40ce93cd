"""What the Hugging Face Hub answers, or its libraries say of a file, as one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.exceptions import DatasetGenerationError
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

from ftkit.errors import FtkitError, HubError


@contextmanager
def loading_errors(
    what: str, name: str, broken: type[FtkitError], revision: str | None = None
) -> Iterator[None]:
    """Turn what Hugging Face's libraries raise inside the block into one line.

    A `HubError` where the Hub does not give it, `broken` where what it gave cannot be used.

    Args:
        what: "backbone" or "data set".
        name: the id or path that was asked for.
    """
    try:
        yield
    except FtkitError:
        raise
    except Exception as error:  # whatever a library may raise over a strange file, with its name
        refusal = _refusal(error, name, revision)
        if refusal is not None:
            raise HubError(f"{what} '{name}': {refusal}") from error
        raise broken(f"{what} '{name}': {said(error)}") from error


def said(error: BaseException) -> str:
    """Return an error's message as one line of bounded length, with its kind where that helps."""
    if isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__  # it says itself no more than that there was an error
    words = " ".join(str(error).split())[:300]
    plain = isinstance(error, (OSError, ValueError, HfHubHTTPError)) and words
    return words if plain else f"{type(error).__name__}: {words}".removesuffix(": ")


def _refusal(error: BaseException, name: str, revision: str | None) -> str | None:
    """Return why the Hub does not give it and what to do, or None where that is not the matter.

    Looks through the errors that clients wrap.
    """
    endpoint = constants.ENDPOINT
    chain = list(_chain(error))
    if _any(chain, GatedRepoError):
        return f"access is by request; ask for it at {endpoint} and log in with 'hf auth login'"
    if _any(chain, RevisionNotFoundError):
        return f"{endpoint} has it, but not at revision '{revision}'"
    if _any(chain, HFValidationError):
        return "no local file or folder of that name, and it cannot be a Hub id (owner/name)"
    if constants.HF_HUB_OFFLINE and isinstance(error, OSError) and not Path(name).is_dir():
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
        return f"{endpoint} has the repository, but a file is missing: {said(error)}"
    return said(error) if _any(chain, HfHubHTTPError) else None


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
