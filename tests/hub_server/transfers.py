"""Files up and down, over LFS and Xet, as huggingface_hub and hf_xet ask for them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from hub_server.access import API, PLAIN, REVISION, commit_of, on, opened, writable
from hub_server.answers import Answer, Refusal, Request
from hub_server.repository import Blob, is_large

if TYPE_CHECKING:
    from hub_server.server import Hub

EXPIRES = 4_000_000_000


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
