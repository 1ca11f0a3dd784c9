"""MI commands and the JSON-RPC that carries them, drawn: what a server has, what it nearly has, and anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from mi_script.calls import Call
from mi_script.commands import Json

_TEXTS = st.text(st.characters(codec="utf-8"), max_size=10)
_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_IDS = st.none() | _NUMBERS | _TEXTS
_PLAIN: st.SearchStrategy[Json] = st.sampled_from(["x", 0, ["x"]])


def json_values() -> st.SearchStrategy[Any]:
    """Whatever JSON can say, in few words."""
    return st.recursive(
        st.none() | st.booleans() | _NUMBERS | _TEXTS,
        lambda children: st.lists(children, max_size=3) | st.dictionaries(_TEXTS, children, max_size=3),
        max_leaves=8,
    )


@st.composite
def mi_calls(
    draw: st.DrawFn,
    commands: Mapping[str, Sequence[Sequence[str]]],
    values: st.SearchStrategy[Any] = _PLAIN,
    *,
    nearly: bool = False,
) -> Call:
    """A command with parameters that fit, by name or by position.

    Args:
        commands: by name, the lists of parameters that it takes: what `Server.commands()` gives.
        values: what parameters are.
        nearly: whether there may also be a parameter too few, or one too many.
    """
    name = draw(st.sampled_from(sorted(commands)))
    names = list(draw(st.sampled_from(commands[name])))
    if nearly and draw(st.booleans()):
        others = sorted({other for recipes in commands.values() for recipe in recipes for other in recipe})
        names = names[:-1] if draw(st.booleans()) or not others else [*names, draw(st.sampled_from(others))]
    drawn = [draw(values) for _ in names]
    return Call(name, draw(st.sampled_from([dict(zip(names, drawn, strict=True)), drawn])))


def rpc_requests(
    methods: st.SearchStrategy[str], parameters: Sequence[str] = ("a", "b", "c")
) -> st.SearchStrategy[Any]:
    """Requests as JSON-RPC 2.0 has them, notifications among them; whether there is such a command is another matter.

    Args:
        methods: what they ask for.
        parameters: some of the names that parameters have.
    """
    return st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0"), "method": methods}, optional={"params": _params(parameters), "id": _IDS}
    )


def _params(parameters: Sequence[str]) -> st.SearchStrategy[Any]:
    values = json_values()
    by_name = st.dictionaries(st.sampled_from(parameters) | _TEXTS, values, max_size=3)
    return st.lists(values, max_size=3) | by_name


def hostile_rpc(
    methods: st.SearchStrategy[str], parameters: Sequence[str] = ("a", "b", "c")
) -> st.SearchStrategy[bytes]:
    """What may come over a transport of MI: any bytes, JSON that is nearly a request or a batch, and that mangled.

    Args:
        methods, parameters: as in `rpc_requests`.
    """
    values = json_values()
    nearly = st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.just("2.0") | values,
            "method": methods | values,
            "params": _params(parameters) | values,
            "id": _IDS | values,
            "result": values,
            "error": values,
        },
    )
    texts = (values | nearly | st.lists(nearly, max_size=4)).map(lambda value: json.dumps(value).encode())
    return st.binary(max_size=200) | texts | texts.flatmap(_mangled)


@st.composite
def _mangled(draw: st.DrawFn, text: bytes) -> bytes:
    """A text with some of its bytes changed, lost or doubled."""
    data = bytearray(text)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)
