"""Who may run what: the commands that a way in lets through, as its settings name them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mi_script.commands import Command, Registry

_WORDS: Final = re.compile(r"[\s,]+")


class UnknownName(ValueError):
    """A word that names no command, and as a pattern fits none.

    Args:
        word: it.
    """

    def __init__(self, word: str) -> None:
        super().__init__(f"there is no MI command {word}")
        self.word = word


@dataclass(frozen=True, slots=True)
class Access:
    """Who may run what. A command is named by any of its names; what is denied stays denied when also allowed.

    Args:
        allow: the only commands that may run, or None for all.
        deny: the commands that may not.
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()

    def refuses(self, command: Command) -> str | None:
        """Why the command may not run, or None."""
        if not self.deny.isdisjoint(command.names):
            return f"Command '{command.name}' is denied here"
        if self.allow is not None and self.allow.isdisjoint(command.names):
            return f"Command '{command.name}' is not among those allowed here"
        return None


def words(text: str) -> list[str]:
    """The names and patterns in a setting, which are apart by spaces or commas."""
    return [word for word in _WORDS.split(text) if word]


def named(registry: Registry, word: str) -> frozenset[str]:
    """The commands that a word names, by their own names.

    Args:
        registry: the commands that there are.
        word: any name of a command; or the beginning of names with ``*`` behind it, e.g. ``dlg_*``, ``dialog:*`` (also
            whatever the module dialog gives) and ``*`` for all.

    Raises:
        UnknownName: it names none.
    """
    if word.endswith("*"):
        found = frozenset(one.name for one in registry if _fits(one, word[:-1]))
    else:
        one = registry.find(word)
        found = frozenset() if one is None else frozenset((one.name,))
    if not found:
        raise UnknownName(word)
    return found


def access_of(registry: Registry, allow: Iterable[str], deny: Iterable[str]) -> Access | None:
    """What settings say of who may run what; None where they let everything through.

    Args:
        registry: the commands that there are.
        allow, deny: the settings' texts, each with any number of words.

    Raises:
        UnknownName: a word names no command.
    """
    allowed, denied = ([word for text in texts for word in words(text)] for texts in (allow, deny))
    if not allowed and not denied:
        return None
    return Access(_all_named(registry, allowed) if allowed else None, _all_named(registry, denied))


def _all_named(registry: Registry, names: list[str]) -> frozenset[str]:
    return frozenset().union(*(named(registry, word) for word in names))


def _fits(command: Command, start: str) -> bool:
    return start == f"{command.module}:" or any(name.startswith(start) for name in command.names)
