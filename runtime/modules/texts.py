"""Text at the MI boundary: a script's strings are bytes spelled as latin-1, and JSON has real text."""

from __future__ import annotations


def script_text(text: str) -> str:
    """A script's string, bytes spelled as latin-1, as real text."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


def bytes_text(text: str) -> str:
    """Real text as scripts have it."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")
