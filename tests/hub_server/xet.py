"""Xet's store of chunks, as far as hf_xet needs it: xorbs, shards, and how files are made of them.

A xorb is a row of chunks, each with a header of 8 bytes: version, compressed size (3 bytes), kind
of compression, plain size (3 bytes). A shard says which chunks of which xorbs make a file, and the
file's sha256: records of 48 bytes behind a header of 48.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

RECORD = 48
HAS_CHECKS, HAS_SHA256 = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Term:
    """Some chunks of a xorb, in order."""

    xorb: str
    size: int
    first: int
    end: int


@dataclass
class Store:
    """Everything uploaded over Xet."""

    xorbs: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, list[Term]] = field(default_factory=dict)  # by Xet hash
    by_sha256: dict[str, str] = field(default_factory=dict)  # sha256 -> Xet hash

    def add_shard(self, shard: bytes) -> None:
        """Learn the files that a shard describes."""
        place = RECORD
        while shard[place : place + 32] != b"\xff" * 32:
            name = hex_hash(shard[place : place + 32])
            flags, count = struct.unpack_from("<II", shard, place + 32)
            terms = []
            for _ in range(count):
                place += RECORD
                xorb = hex_hash(shard[place : place + 32])
                _, size, first, end = struct.unpack_from("<IIII", shard, place + 32)
                terms.append(Term(xorb, size, first, end))
            place += RECORD * count if flags & HAS_CHECKS else 0
            self.files[name] = terms
            if flags & HAS_SHA256:
                place += RECORD
                self.by_sha256[hex_hash(shard[place : place + 32])] = name
            place += RECORD

    def reconstruction(self, name: str, url: str, span: tuple[int, int] | None) -> bytes | None:
        """Return how to make a file, or None where it is unknown or the span starts behind its end.

        Args:
            url: of the xorbs.
            span: the first and last byte wanted.
        """
        terms = self.files.get(name)
        if terms is None:
            return None
        offset = 0
        if span is not None:
            ends = np.cumsum([term.size for term in terms])
            if span[0] >= ends[-1]:
                return None
            first, last = np.searchsorted(ends, [span[0], min(span[1], ends[-1] - 1)], side="right")
            offset = int(span[0] - (ends[first - 1] if first else 0))
            terms = terms[first : last + 1]
        fetch = {}
        for term in terms:
            ends = chunk_ends(self.xorbs[term.xorb])
            fetch[term.xorb] = [
                {
                    "range": {"start": 0, "end": len(ends)},
                    "url": f"{url}/{term.xorb}",
                    "url_range": {"start": 0, "end": ends[-1] - 1},
                }
            ]
        answer = {
            "offset_into_first_range": offset,
            "terms": [
                {
                    "hash": term.xorb,
                    "unpacked_length": term.size,
                    "range": {"start": term.first, "end": term.end},
                }
                for term in terms
            ],
            "fetch_info": fetch,
        }
        return json.dumps(answer).encode()

    def content(self, name: str) -> bytes:
        """Return the plain bytes of a file."""
        return b"".join(
            b"".join(chunks(self.xorbs[term.xorb])[term.first : term.end])
            for term in self.files[name]
        )


def hex_hash(raw: bytes) -> str:
    """Return a hash as Xet writes it: four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def _headers(xorb: bytes):
    """Yield (start, compressed size, kind, plain size) of each chunk."""
    place = 0
    while place + 8 <= len(xorb) and xorb[place] == 0 and xorb[place : place + 7] != b"XETBLOB":
        packed = int.from_bytes(xorb[place + 1 : place + 4], "little")
        plain = int.from_bytes(xorb[place + 5 : place + 8], "little")
        yield place + 8, packed, xorb[place + 4], plain
        place += 8 + packed


def chunk_ends(xorb: bytes) -> list[int]:
    """Return where each chunk ends."""
    return [start + packed for start, packed, _, _ in _headers(xorb)]


def chunks(xorb: bytes) -> list[bytes]:
    """Return the plain bytes of each chunk."""
    found = []
    for start, packed, kind, plain in _headers(xorb):
        data = xorb[start : start + packed]
        if kind:  # 1: LZ4; 2: LZ4 of the bytes in four groups, every fourth byte in each
            data = pa.decompress(data, plain, codec="lz4", asbytes=True)
        if kind == 2:
            grouped, whole = np.frombuffer(data, np.uint8), np.empty(plain, np.uint8)
            ends = np.cumsum([0, *(len(range(i, plain, 4)) for i in range(4))])
            for i in range(4):
                whole[i::4] = grouped[ends[i] : ends[i + 1]]
            data = whole.tobytes()
        found.append(data)
    return found
