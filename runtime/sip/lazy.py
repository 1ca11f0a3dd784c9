"""Slots that are filled when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar


class Lazy:
    """Base of a class with lazy slots.

    A lazy slot stays unset until it is asked for: then `__getattr__` reads it and fills the slot, so a second access
    costs what an attribute costs. A property would cost three times that.

    Class attributes:
        readers: what fills each lazy slot, by its name.
    """

    __slots__ = ()

    readers: ClassVar[dict[str, Callable[[Any], object]]] = {}

    if not TYPE_CHECKING:  # a visible __getattr__ would let every misspelt attribute pass the type checker

        def __getattr__(self, name: str) -> Any:
            read = self.readers.get(name)
            if read is None:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            value = read(self)
            setattr(self, name, value)
            return value
