"""What the Hub keeps of one repository: commits, each with all its files, and names for them."""

from __future__ import annotations

import hashlib
import itertools
import threading
from dataclasses import dataclass, field

LARGE = (".safetensors", ".bin", ".png", ".jpg", ".parquet", ".npz", ".zip")
MOST_REGULAR_BYTES = 10_000_000


@dataclass(frozen=True)
class Blob:
    """The content of a file by its hashes; large files are kept apart from git, as by git-lfs."""

    sha256: str
    size: int
    sha1: str  # of the git blob: the content, or the LFS pointer
    large: bool

    @property
    def etag(self) -> str:
        """The name that clients keep the file under."""
        return self.sha256 if self.large else self.sha1

    @staticmethod
    def small(content: bytes) -> Blob:
        """Return the blob of a file that git itself keeps."""
        return Blob(hashlib.sha256(content).hexdigest(), len(content), git_sha1(content), False)

    @staticmethod
    def pointer(sha256: str, size: int) -> Blob:
        """Return the blob of a file that is kept apart."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return Blob(sha256, size, git_sha1(text.encode()), True)


def git_sha1(content: bytes) -> str:
    """Return the name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str, size: int) -> bool:
    """Return whether the Hub keeps such a file apart from git."""
    return path.endswith(LARGE) or size > MOST_REGULAR_BYTES


@dataclass(frozen=True)
class Commit:
    """All files of a repository at one time."""

    oid: str
    title: str
    files: dict[str, Blob]
    parent: Commit | None = None

    def history(self) -> list[Commit]:
        """Return this commit and those before it, newest first."""
        return [self, *(self.parent.history() if self.parent else [])]


@dataclass
class Repository:
    """A model, a data set or a Space."""

    id: str
    kind: str  # models, datasets or spaces
    private: bool = False
    gated: bool = False
    sdk: str | None = None  # what runs a Space; static ones are files alone
    access: set[str] = field(default_factory=set)  # users who may read it although it is gated
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    counter: itertools.count = field(default_factory=itertools.count)

    @property
    def owner(self) -> str:
        """The user who may write."""
        return self.id.partition("/")[0]

    def commit(
        self, branch: str, title: str, files: dict[str, Blob], oid: str | None = None
    ) -> Commit:
        """Add a commit that holds exactly these files."""
        with self.lock:
            parent = self.branches.get(branch)
            content = [(path, blob.sha256) for path, blob in files.items()]
            seed = f"{self.kind}/{self.id}/{branch}/{next(self.counter)}/{title}/{content}"
            commit = Commit(oid or hashlib.sha1(seed.encode()).hexdigest(), title, files, parent)
            self.branches[branch] = commit
            return commit

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a tag or a (short) commit name means."""
        named = self.branches.get(revision) or self.tags.get(revision)
        if named is None and len(revision) >= 7:
            every = [
                c for tip in (*self.branches.values(), *self.tags.values()) for c in tip.history()
            ]
            named = next((c for c in every if c.oid.startswith(revision)), None)
        return named

    @property
    def head(self) -> Commit:
        """The newest commit of main."""
        return self.branches["main"]

    @property
    def titles(self) -> list[str]:
        """The titles of main's commits, newest first."""
        return [commit.title for commit in self.head.history()]
