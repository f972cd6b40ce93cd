"""How a request finds its endpoint, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hub_server.answers import Answer, Refusal, Request
from hub_server.repository import Commit, Repository

if TYPE_CHECKING:
    from hub_server.server import Hub

ID = r"(?P<id>[^/]+(?:/[^/]+)?)"
API = rf"/api/(?P<kind>models|datasets|spaces)/{ID}"
PLAIN = rf"/(?:(?P<kind>datasets|spaces)/)?{ID}"
REVISION = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []


def on(method: str, pattern: str) -> Callable:
    """Register a function of (hub, request, **named parts of the path) as an endpoint."""

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


def route(hub: Hub, request: Request) -> Answer:
    """Return the answer to a request."""
    method = "GET" if request.method == "HEAD" else request.method
    for wanted, pattern, function in ROUTES:
        found = pattern.fullmatch(request.path)
        if wanted == method and found:
            parts = {k: unquote(v) for k, v in found.groupdict().items() if v is not None}
            with hub.lock:
                return function(hub, request, **parts)
    raise Refusal(404, f"there is nothing at {request.path}")


# who may do what


def user(hub: Hub, request: Request) -> tuple[str, str] | None:
    """Return (name, role) of who asks, None where nobody says who."""
    if not request.token:
        return None
    if request.token not in hub.tokens:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return hub.tokens[request.token]


def readable(hub: Hub, request: Request, kind: str, name: str) -> Repository:
    """Return a repository that the asker may know of."""
    who = user(hub, request)
    repository = hub.repositories.get((kind, name))
    if repository is None or (repository.private and (not who or who[0] != repository.owner)):
        raise Refusal(404 if who else 401, "Repository not found", "RepoNotFound")
    return repository


def opened(hub: Hub, request: Request, kind: str, name: str) -> Repository:
    """Return a repository whose files the asker may read."""
    repository, who = readable(hub, request, kind, name), user(hub, request)
    if repository.gated and (not who or who[0] not in {repository.owner, *repository.access}):
        raise Refusal(403 if who else 401, f"Access to {kind} {name} is restricted", "GatedRepo")
    return repository


def writable(hub: Hub, request: Request, kind: str, name: str) -> Repository:
    """Return a repository that the asker may write to."""
    repository, who = readable(hub, request, kind, name), user(hub, request)
    if who is None or who[0] != repository.owner or who[1] != "write":
        raise Refusal(403, f"You don't have the rights to write to {name}")
    return repository


def commit_of(repository: Repository, revision: str) -> Commit:
    """Return the commit that a revision means."""
    commit = repository.find(revision)
    if commit is None:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit
