"""Addresses, such as https://host/rows.csv: what is one, and how it is shown.

Whatever an address carries beside host and path may be a secret: a user name, a password, a token,
a signature. It serves to fetch, and is neither printed nor written.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

LONGEST_PASSWORD = 500
START = rf"""
    (?P<scheme> [a-zA-Z][\w+.-]* ) ://
    (?:
        [^\s/?\#@]* @                              # joe@, joe:pw@
      | [^\s/?\#@:\[]* : (?! : )                   # joe:, which is no host with its port, and then
        (?! \d* (?: [\s/?\#'"),;.] | :: | $ ) )
        (?: [^\s@] (?: (?! :: | \s\S+:// ) [^@\n] ){{0,{LONGEST_PASSWORD}}}? @  # pw, even with a /
          | [^\s/?\#@'"()]* (?= [\s'"()] | $ ) )    # or a password that is cut off
    )?
    (?P<path> (?: \[ [^\]\s]* \] )? (?: (?! :: ) [^\s?\#'"<>] )* )
"""
"""Up to the next of addresses that are chained, as in zip://rows.csv::https://host/rows.zip."""
ALONE = re.compile(START + r"(?P<more> [?\#] (?: (?! :: ) . )* )?", re.VERBOSE | re.DOTALL)
MORE = r"""(?: (?! :: ) (?: [^\s'"<>] | ['"] (?! [\s,:;.)\]}>'"] | $ ) ) )*"""
IN_TEXT = re.compile(START + rf"(?P<more> [?\#] {MORE} )?", re.VERBOSE)
RELATIVE = re.compile(
    rf"""(?<![\w?]) (?P<path> / [^\s?'"<>]* ) \? (?= [\w.~%-]+ = ) {MORE}""", re.VERBOSE
)
"""As clients quote what they asked a host for: url: /rows.csv?token=..."""


def is_address(path: str) -> bool:
    """Return whether a path begins with a protocol, as in s3://bucket/rows.csv."""
    return "://" in path


def shown(path: str) -> str:
    """Return a path, or an address as scheme, host and path."""
    return ALONE.sub(_shown, path) if is_address(path) else path


def without_secrets(text: str, of: str = "") -> str:
    """Return a text in which addresses are shown as scheme, host and path.

    Args:
        of: an address that was fetched. What it hides is also hidden where it stands by itself, as
            in the message of a client that could not make sense of it.
    """
    if is_address(text):
        text = IN_TEXT.sub(_shown, text)
    text = RELATIVE.sub(r"\g<path>", text)
    for secret in sorted(_hidden(of), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text


def _shown(found: re.Match[str]) -> str:
    more = found["more"] or ""
    asks = found["scheme"].startswith("http") or re.match(r"[?#][\w.~%-]*=", more)
    if asks:  # elsewhere a question mark stands for a letter, as in s3://bucket/rows-?.csv
        more = more[len(more.rstrip(",.;:)")) :]
    return f"{found['scheme']}://{found['path']}{more}"


def _hidden(address: str) -> set[str]:
    """Return what an address carries and is not shown, piece by piece."""
    kept = shown(address)
    pieces = re.split(r"[/?#&=@:]+", address) if kept != address else []
    lost = {piece for piece in pieces if piece and piece not in re.split(r"[/:]+", kept)}
    return lost | {unquote(piece) for piece in lost}
