"""Who asks and what repositories hold, as huggingface_hub and datasets ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import yaml

from hub_server.access import API, REVISION, commit_of, on, opened, readable, user, writable
from hub_server.answers import Answer, Refusal, Request
from hub_server.repository import Blob, Commit, git_sha1

if TYPE_CHECKING:
    from hub_server.server import Hub

WHEN = "2026-01-01T00:00:00.000Z"


@on("GET", "/api/whoami-v2")
def whoami(hub: Hub, request: Request) -> Answer:
    who = user(hub, request)
    if who is None:
        raise Refusal(401, "Invalid username or password.")
    auth = {"type": "access_token", "accessToken": {"displayName": "tests", "role": who[1]}}
    return Answer.of(
        {"type": "user", "id": who[0], "name": who[0], "fullname": who[0], "orgs": [], "auth": auth}
    )


# repositories


@on("POST", "/api/repos/create")
def create(hub: Hub, request: Request) -> Answer:
    who, wanted = user(hub, request), request.json
    kind = f"{wanted.get('type') or 'model'}s"
    if who is None:
        raise Refusal(401, "Invalid username or password.")
    name = f"{wanted.get('organization') or who[0]}/{wanted['name']}"
    url = f"{hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
    if name.partition("/")[0] != who[0] or who[1] != "write":
        raise Refusal(403, f"You don't have the rights to create {name}")
    if (kind, name) in hub.repositories:
        return Answer.of({"error": "You already created this repo", "url": url}, 409)
    sdk = wanted.get("sdk")
    if kind == "spaces" and sdk not in {"static", "gradio", "docker"}:
        raise Refusal(400, "a Space needs its sdk")
    hub.add(name, kind=kind, private=wanted.get("visibility") == "private", sdk=sdk)
    return Answer.of({"url": url, "name": name, "id": name})


@on("DELETE", "/api/repos/delete")
def delete(hub: Hub, request: Request) -> Answer:
    wanted = request.json
    kind, name = f"{wanted.get('type') or 'model'}s", f"{wanted['organization']}/{wanted['name']}"
    del hub.repositories[kind, writable(hub, request, kind, name).id]
    return Answer.of({})


@on("POST", "/api/validate-yaml")
def validate_yaml(hub: Hub, request: Request) -> Answer:
    try:
        yaml.safe_load(request.json["content"].split("---")[1])
    except (yaml.YAMLError, IndexError) as error:
        return Answer.of({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return Answer.of({"errors": [], "warnings": []})


@on("GET", f"{API}/auth-check(?P<write>/write)?")
def auth_check(hub: Hub, request: Request, kind: str, id: str, write: str = "") -> Answer:
    (writable if write else opened)(hub, request, kind, id)
    return Answer.of({})


@on("GET", rf"{API}/tree/{REVISION}(?:/(?P<path>.+))?")
def tree(hub: Hub, request: Request, kind: str, id: str, revision: str, path: str = "") -> Answer:
    files = commit_of(opened(hub, request, kind, id), revision).files
    prefix = f"{path}/" if path else ""
    if prefix and not any(name.startswith(prefix) for name in files):
        raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
    recursive = request.query.get("recursive", ["false"])[0].lower() in {"true", "1"}
    inside = [name for name in files if name.startswith(prefix)]
    folders = {
        prefix + "/".join(parts[:depth])
        for parts in (name[len(prefix) :].split("/") for name in inside)
        for depth in range(1, len(parts))
        if recursive or depth == 1
    }
    shown = [name for name in inside if recursive or "/" not in name[len(prefix) :]]
    return Answer.of(
        [
            *(folder(path) for path in sorted(folders)),
            *(entry(hub, name, files[name]) for name in sorted(shown)),
        ]
    )


def folder(path: str) -> dict[str, Any]:
    """Return a folder's line in a listing."""
    return {"type": "directory", "path": path, "oid": git_sha1(path.encode()), "size": 0}


def entry(hub: Hub, path: str, blob: Blob) -> dict[str, Any]:
    """Return a file's line in a listing."""
    line: dict[str, Any] = {"type": "file", "path": path, "oid": blob.sha1, "size": blob.size}
    if blob.large:
        line["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
        if hub.has_xet and blob.sha256 in hub.xet.by_sha256:
            line["xetHash"] = hub.xet.by_sha256[blob.sha256]
    return line


@on("POST", f"{API}/paths-info/{REVISION}")
def paths_info(hub: Hub, request: Request, kind: str, id: str, revision: str) -> Answer:
    files = commit_of(opened(hub, request, kind, id), revision).files
    asked = parse_qs(request.body.decode()).get("paths", [])
    if request.headers.get("Content-Type", "").startswith("application/json"):
        asked = request.json["paths"]
    found = [entry(hub, path, files[path]) for path in asked if path in files]
    for path in asked:
        if path not in files and any(name.startswith(f"{path}/") for name in files):
            found.append(folder(path))
    return Answer.of(found)


@on("GET", f"{API}/refs")
def refs(hub: Hub, request: Request, kind: str, id: str) -> Answer:
    repository = readable(hub, request, kind, id)

    def named(kind: str, names: dict[str, Commit]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit.oid}
            for name, commit in names.items()
        ]

    branches, tags = named("heads", repository.branches), named("tags", repository.tags)
    return Answer.of({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})


@on("GET", f"{API}/commits/{REVISION}")
def commits(hub: Hub, request: Request, kind: str, id: str, revision: str) -> Answer:
    history = commit_of(readable(hub, request, kind, id), revision).history()
    about = {"message": "", "date": WHEN, "authors": [{"user": id.partition("/")[0]}]}
    return Answer.of([{"id": made.oid, "title": made.title, **about} for made in history])


@on("POST", f"{API}/branch/(?P<branch>[^/]+)")
def branch(hub: Hub, request: Request, kind: str, id: str, branch: str) -> Answer:
    repository = writable(hub, request, kind, id)
    if branch in repository.branches:
        raise Refusal(409, "Reference already exists")
    repository.branches[branch] = commit_of(repository, request.json.get("startingPoint", "main"))
    return Answer.of({})


@on("POST", f"{API}/tag/{REVISION}")
def tag(hub: Hub, request: Request, kind: str, id: str, revision: str) -> Answer:
    repository = writable(hub, request, kind, id)
    repository.tags[request.json["tag"]] = commit_of(repository, revision)
    return Answer.of({})


# last, because an id may be one name or two


@on("GET", rf"{API}(?:/revision/{REVISION})?")
def info(hub: Hub, request: Request, kind: str, id: str, revision: str = "main") -> Answer:
    repository = readable(hub, request, kind, id)
    commit = commit_of(repository, revision)
    return Answer.of(
        {
            "_id": git_sha1(id.encode())[:24], "id": id, "author": repository.owner,
            "sha": commit.oid, "lastModified": WHEN, "createdAt": WHEN,
            "private": repository.private, "gated": "manual" if repository.gated else False,
            "disabled": False, "downloads": 0, "likes": 0, "tags": [],
            "siblings": [{"rfilename": path} for path in commit.files],
            "cardData": card_data(hub, commit),
        }
    )  # fmt: skip


def card_data(hub: Hub, commit: Commit) -> dict[str, Any]:
    """Return the metadata at the head of README.md."""
    readme = commit.files.get("README.md")
    parts = hub.content(readme).decode().split("---", 2) if readme else []
    return yaml.safe_load(parts[1]) if len(parts) == 3 else {}
