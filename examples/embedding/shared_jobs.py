"""The handlers of shared_pool.py."""

from collections import Counter


def count_words(text: str) -> dict[str, int]:
    """Count the words of a text."""
    return dict(Counter(text.lower().split()))
