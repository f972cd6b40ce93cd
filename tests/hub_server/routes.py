"""The Hub's endpoints, as huggingface_hub, datasets and hf_xet ask for them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import yaml

from hub_server.answers import Answer, Refusal, Request
from hub_server.repository import Blob, Commit, Repository, git_sha1, is_large

if TYPE_CHECKING:
    from hub_server.server import Hub

ID = r"(?P<id>[^/]+(?:/[^/]+)?)"
API = rf"/api/(?P<kind>models|datasets|spaces)/{ID}"
PLAIN = rf"/(?:(?P<kind>datasets|spaces)/)?{ID}"
REVISION = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []
WHEN = "2026-01-01T00:00:00.000Z"
EXPIRES = 4_000_000_000


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
    hub.add(name, kind=kind, private=wanted.get("visibility") == "private")
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


# upload


@on("POST", f"{API}/preupload/{REVISION}")
def preupload(hub: Hub, request: Request, kind: str, id: str, revision: str) -> Answer:
    files = commit_of(writable(hub, request, kind, id), revision).files
    answers = []
    for asked in request.json["files"]:
        mode = "lfs" if is_large(asked["path"], asked["size"]) else "regular"
        there = files.get(asked["path"])
        known = {"oid": there.etag} if there else {}
        answers.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, **known})
    return Answer.of({"files": answers})


@on("POST", rf"{PLAIN}\.git/info/lfs/objects/batch")
def lfs_batch(hub: Hub, request: Request, id: str, kind: str = "models") -> Answer:
    writable(hub, request, kind, id)
    objects = []
    for asked in request.json["objects"]:
        known = hub.knows(asked["oid"])
        upload = {"upload": {"href": f"{hub.url}/lfs/{asked['oid']}"}}
        objects.append({**asked, **({} if known else {"actions": upload})})
    return Answer.of({"transfer": "basic", "objects": objects})


@on("PUT", "/lfs/(?P<sha256>[0-9a-f]{64})")
def lfs_put(hub: Hub, request: Request, sha256: str) -> Answer:
    if Blob.small(request.body).sha256 != sha256:
        raise Refusal(400, "the content has another sha256")
    hub.large[sha256] = request.body
    return Answer(b"")


@on("POST", f"{API}/commit/{REVISION}")
def commit(hub: Hub, request: Request, kind: str, id: str, revision: str) -> Answer:
    repository = writable(hub, request, kind, id)
    tip = commit_of(repository, revision)
    files, title = dict(tip.files), ""
    for line in request.body.decode().splitlines():
        key, value = (part := json.loads(line))["key"], part["value"]
        if key == "header":
            title = value["summary"]
            if value.get("parentCommit") not in {None, tip.oid}:
                raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        elif key == "file":
            files[value["path"]] = hub.keep(value["path"], base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if not hub.knows(value["oid"]):
                raise Refusal(400, f"the content of {value['path']} was not uploaded")
            files[value["path"]] = Blob.pointer(value["oid"], value["size"])
        elif key == "deletedFile":
            del files[value["path"]]
        elif key == "deletedFolder":
            files = {p: b for p, b in files.items() if not p.startswith(value["path"])}
    made = repository.commit(revision, title, files)
    url = f"{hub.url}/{id}/commit/{made.oid}"
    return Answer.of({"success": True, "commitOid": made.oid, "commitUrl": url})


# download


@on("GET", f"{PLAIN}/resolve/{REVISION}/(?P<path>.+)")
def resolve(
    hub: Hub, request: Request, id: str, revision: str, path: str, kind: str = "models"
) -> Answer:
    commit = commit_of(opened(hub, request, kind, id), revision)
    blob, headers = commit.files.get(path), {"X-Repo-Commit": commit.oid}
    if blob is None:
        raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound", headers)
    headers |= {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
    if not blob.large:
        return sized(request, hub.content(blob), headers)
    headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
    if hub.has_xet and blob.sha256 in hub.xet.by_sha256:
        token = f"{hub.url}/api/{kind}/{id}/xet-read-token/{commit.oid}"
        headers |= {
            "X-Xet-Hash": hub.xet.by_sha256[blob.sha256],
            "Link": f'<{token}>; rel="xet-auth"',
        }
    # large files lie on another host, which must not be told the token
    headers["Location"] = f"http://localhost:{hub.port}/lfs/{blob.sha256}"
    return Answer(b"", 302, headers)


@on("GET", "/lfs/(?P<sha256>[0-9a-f]{64})")
def lfs_get(hub: Hub, request: Request, sha256: str) -> Answer:
    content = hub.content(Blob.pointer(sha256, 0))
    return sized(request, content, {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"})


def sized(request: Request, content: bytes, headers: dict[str, str]) -> Answer:
    """Return a file's content, or its length alone for HEAD."""
    if request.method == "HEAD":
        return Answer(b"", 200, {**headers, "Content-Length": str(len(content))})
    return Answer(content, 200, headers).part(request.span)


# Xet


@on("GET", f"{API}/xet-(?P<right>read|write)-token/{REVISION}")
def xet_token(hub: Hub, request: Request, kind: str, id: str, right: str, revision: str) -> Answer:
    if not hub.has_xet:
        raise Refusal(404, "there is no Xet here")
    (writable if right == "write" else opened)(hub, request, kind, id)
    url = f"{hub.url}/cas"
    told = {"casUrl": url, "exp": EXPIRES, "accessToken": f"xet-{right}"}
    headers = {
        "X-Xet-Cas-Url": url,
        "X-Xet-Access-Token": f"xet-{right}",
        "X-Xet-Token-Expiration": str(EXPIRES),
    }
    return replace(Answer.of(told), headers=headers)


@on("POST", r"/cas/v1/xorbs/default/(?P<name>\w+)")
def put_xorb(hub: Hub, request: Request, name: str) -> Answer:
    new = name not in hub.xet.xorbs
    hub.xet.xorbs[name] = request.body
    return Answer.of({"was_inserted": new})


@on("POST", "/cas/v1/shards")
def put_shard(hub: Hub, request: Request) -> Answer:
    hub.xet.add_shard(request.body)
    return Answer.of({"result": 1})


@on("GET", r"/cas/v1/reconstructions/(?P<name>\w+)")
def reconstruct(hub: Hub, request: Request, name: str) -> Answer:
    made = hub.xet.reconstruction(name, f"{hub.url}/cas/xorbs", request.span)
    if made is None:
        raise Refusal(416 if name in hub.xet.files else 404, "no such file, or no such part of it")
    return Answer(made)


@on("GET", r"/cas/xorbs/(?P<name>\w+)")
def get_xorb(hub: Hub, request: Request, name: str) -> Answer:
    return Answer(hub.xet.xorbs[name]).part(request.span)


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
