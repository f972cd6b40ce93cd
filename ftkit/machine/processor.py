"""The processor of this machine: its name, and whether it multiplies in bfloat16."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16, TILES = {"avx512_bf16", "amx_bf16", "bf16"}, {"amx_bf16"}
"""Flags of instructions that multiply in bfloat16, on x86 and on ARM, and of those that multiply
whole tiles of matrices."""


def processor_name() -> str:
    """Return the name of the processor, where the system tells it."""
    return next(iter(_lines("model name")), platform.processor())


def has_bfloat16() -> bool | None:
    """Return whether its instructions multiply in bfloat16; None where the system does not say."""
    for flags in _lines("flags", "Features"):
        return not BFLOAT16.isdisjoint(flags.split())
    return None


def has_bfloat16_tiles() -> bool:
    """Return whether it is known to multiply tiles of matrices in bfloat16."""
    return any(not TILES.isdisjoint(flags.split()) for flags in _lines("flags"))


def _lines(*names: str) -> Iterable[str]:
    """Yield what Linux says of each core under one of these names."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in re.finditer(rf"(?m)^(?:{'|'.join(names)})[ \t]*:[ \t]*(.*)$", text):
        yield line[1].strip()
