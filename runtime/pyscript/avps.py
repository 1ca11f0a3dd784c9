"""`call.avp` and `call.var`: the AVPs of a message and the `$var`s of a process as Python's containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from runtime.context import Value
from runtime.pyscript.words import kept, seen, to_script, to_text

if TYPE_CHECKING:
    from runtime.context import Context


class Avp:
    """All values of one AVP, the oldest first: `avp[-1]` is what `$avp(name)` shows, and `avp.append(v)` what `=` does.

    In the cfg language the index 0 is the newest; here lists are Python's.
    """

    __slots__ = ("_avps", "_key", "name")

    def __init__(self, avps: dict[str, list[Value]], name: str) -> None:
        self._avps = avps
        self._key = to_script(name)
        self.name = name

    def append(self, value: Value) -> None:
        """Add a value. Raises TypeError for None, which would be no value."""
        if value is None:
            raise TypeError("an AVP holds no None")
        self._avps.setdefault(self._key, []).append(kept(value))

    def pop(self) -> Value:
        """Take the newest value away. Raises IndexError when there is none."""
        values = self._avps.get(self._key, [])
        value = values.pop()
        if not values:
            del self._avps[self._key]
        return seen(value)

    def __getitem__(self, index: int) -> Value:
        return seen(self._avps.get(self._key, [])[index])

    def __iter__(self) -> Iterator[Value]:
        return iter([seen(value) for value in self._avps.get(self._key, ())])

    def __len__(self) -> int:
        return len(self._avps.get(self._key, ()))

    def __repr__(self) -> str:
        return f"Avp({self.name!r}, {list(self)!r})"


class Avps:
    """`call.avp`: `call.avp["x"]` is the AVP of that name, empty where it has no value."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getitem__(self, name: str) -> Avp:
        return Avp(self._context.avps, name)

    def __setitem__(self, name: str, values: Iterable[Value] | int | None) -> None:
        """Let it have these values, the oldest first, or this one, and no others."""
        given = [values] if values is None or isinstance(values, str | int) else values
        found = [kept(value) for value in given if value is not None]  # it may be given what it has itself
        if found:
            self._context.avps[to_script(name)] = found
        else:
            del self[name]

    def __delitem__(self, name: str) -> None:
        """Take all its values away; nothing happens where it has none."""
        self._context.avps.pop(to_script(name), None)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and to_script(name) in self._context.avps

    def __iter__(self) -> Iterator[str]:
        return iter([to_text(name) for name in self._context.avps])


class Vars:
    """`call.var`: the `$var`s of this process, as a cfg script has them; None for one that was never set.

    A message that was parked finds them as it left them. What only one route needs is better a local name.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getitem__(self, name: str) -> Value:
        return seen(self._context.variables.get(to_script(name)))

    def __setitem__(self, name: str, value: Value) -> None:
        self._context.variables[to_script(name)] = kept(value)
