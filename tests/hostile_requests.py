"""Requests that no honest client sends, and what must come of each."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from mi_script.jsonrpc import Batch, Item, Malformed, decode

MAX_BODY = 4096
"""The longest request over HTTP."""
METHODS = (
    *("pwd", "version", "uptime", "which", "help", "ps", "log_level", "xlog_level", "kill", "raise_event", "nosuch"),
    *("cache_store", "cache_fetch", "cache_remove", "get_statistics", "reset_statistics", "httpd:list_root_path"),
    *("dlg_list", "dlg_list_ctx", "dlg_end_dlg", "dlg_push_var", "dlg_send_sequential", "set_dlg_profile"),
    *("profile_get_size", "profile_get_values", "profile_list_dlgs", "profile_end_dlgs", "list_all_profiles"),
    *("ul_add", "ul_dump", "ul_rm", "ul_rm_contact", "ul_show_contact", "ul_sync", "usrloc:flush"),
    *("t_uac_dlg", "t_uac_cancel", "t_reply", "t_hash", "shv_get", "shv_set", "rand_set_prob", "rand_get_prob"),
    *("event_subscribe", "events_list", "subscribers_list", "sr_get_status", "sr_list_status", "list_tcp_conns"),
    *("dr_reload", "dr_reload_status", "dr_gw_status", "dr_carrier_status", "dr_number_routing", "dr_enable_probing"),
    *("ds_list", "ds_reload", "ds_set_state", "ds_push_script_attrs"),
    *("", "which\0", "läuft"),
)
PARAMS: tuple[Any, ...] = (
    *([], {}, None, 1, "x", True, [[]], [{}], [None], ["local", "k"], ["local", "k", "v"], ["local", "k", "v", 10**30]),
    *({"system": "local", "attr": "k"}, {"attr": 1}, {"": ""}, {"a" * 300: "b" * 300}, [["rcv_requests"]], [[1]]),
    *({"index": "0", "counter": -1}, {"callid": "x", "method": "A B"}, {"dlg_id": "1.1", "profile": "caller"}),
    *(
        ["location", "a"],
        ["location", "a", "sip:a@b", 1, "1", 0, 0, 0],
        ["caller", "x" * 600],
        ["v", "x", ["1.1", "\0"]],
    ),
    *(["E_NONE", "udp:127.0.0.1:9"], ["E_JOB_TIMEOUT", "tcp:::1"], ["core", "main"], [600, "x", "a b c", "t"]),
    *({"method": "X\r\n", "ruri": "sip:", "headers": "To\r\n"}, {"dlg_val_name": "", "dlg_val_value": "", "DID": [1]}),
    *({"gw_id": "gw1", "status": 2**31}, {"number": "1" * 900}, {"partition_name": "\0", "gw_id": 1}, ["a", 1, "sip:"]),
    *({"carrier_id": [], "status": "x"}, {"group_id": -1, "number": "\ud800"}, {"inherit_state": "zz"}, ["full", "\0"]),
    *([-(2**63)], [1e308], ["\0"], ["\ud800"], ["ü€\U0001f600"], [[[[[["deep"]]]]]], list(range(50)), [["no"]]),
)
IDS: tuple[Any, ...] = (
    *(0, 1, -1, 2**53, 10**40, 1.5, -0.0, 1e308, "", "a", "\0", "ü", "\ud800", "x" * 200),
    *(None, {}, [], True),
)
RAW = (
    *(b"", b" ", b"\0", b"\0" * 200, b"\xff\xfe", b"\xef\xbb\xbf{}", b"null", b"true", b'"x"', b"-", b"1e999", b"NaN"),
    *(b"[]", b"{}", b"[[]]", b"}{", b"::::", b"[" * 3000, b'{"a":' * 700, b"[" * 2000 + b"]" * 2000),
    b'{"jsonrpc":"2.0","method":"pwd","id":"\xc3"}',
    b'{"jsonrpc":"2.0","method":"pwd","id":1} {"jsonrpc"',
    b'{"jsonrpc":"2.0","method":"pwd","id":' + b"9" * 3900 + b"}",
    b'{"jsonrpc":"2.0","method":"p\\u0077d","id":1}',
    b'{"id":1,"id":2,"jsonrpc":"2.0","method":"pwd"}',
)


class Shape(NamedTuple):
    """What is known of an answer beforehand: its id as JSON, and its error's code; None where a command decides."""

    id: str
    code: int | None


def text(draw: random.Random) -> bytes:
    """One request, in whatever state."""
    made = draw.choices((_honest, _batch, _stray, _raw, _damaged, _long), (30, 8, 4, 18, 38, 2))[0]
    return made(draw)


def _call(draw: random.Random) -> dict[str, Any]:
    call = {"jsonrpc": "2.0", "method": draw.choice(METHODS), "id": draw.choice(IDS)}
    if draw.random() < 0.7:
        call["params"] = draw.choice(PARAMS)
    for name in ("jsonrpc", "method", "id"):
        if draw.random() < 0.06:
            del call[name]
        elif draw.random() < 0.03:
            call[name] = draw.choice(PARAMS)
    return call


def _honest(draw: random.Random) -> bytes:
    return json.dumps(_call(draw), ensure_ascii=draw.random() < 0.8).encode("utf-8", "surrogatepass")


def _batch(draw: random.Random) -> bytes:
    members = draw.choice((1, 2, 3, 5, 101))
    return json.dumps([_call(draw) if members < 101 else draw.choice(IDS) for _ in range(members)]).encode()


def _stray(draw: random.Random) -> bytes:
    kind = draw.choice(("result", "error"))
    return json.dumps({"jsonrpc": "2.0", kind: draw.choice(PARAMS), "id": draw.choice(IDS)}).encode()


def _raw(draw: random.Random) -> bytes:
    return draw.choice(RAW) if draw.random() < 0.8 else draw.randbytes(draw.randrange(1, 200))


def _damaged(draw: random.Random) -> bytes:
    data = bytearray(_honest(draw))
    for _ in range(draw.randrange(1, 5)):
        at = draw.randrange(len(data) + 1)
        data[at : at + draw.randrange(3)] = draw.choice((draw.randbytes(2), b'"', b"{", b"]", b"\\", b":", b"\0", b""))
    return bytes(data)


def _long(draw: random.Random) -> bytes:
    return json.dumps(
        {"jsonrpc": "2.0", "method": "help", "params": ["x" * (MAX_BODY + draw.randrange(2000))]}
    ).encode()


def shapes_of(request: bytes, *, strays: bool = True) -> list[Shape] | None:
    """What a request must be answered with; None where silence is right.

    Args:
        request: it.
        strays: whether what is itself an answer is told that it is no request.
    """
    decoded = decode(request)
    items = decoded.items if isinstance(decoded, Batch) else (decoded.item,)
    shapes = [shape for item in items if (shape := _shape(item, strays)) is not None]
    return shapes or None


def _shape(item: Item, strays: bool) -> Shape | None:
    if isinstance(item, Malformed):
        return Shape(json.dumps(item.id), item.fault.code) if strays or not item.stray else None
    return None if item.notification else Shape(json.dumps(item.id), None)


def shapes_in(answer: bytes) -> list[Shape]:
    """What an answer is, seen in the same way. Raises AssertionError where it is no answer at all."""
    found = json.loads(answer)
    return [_seen(one) for one in (found if isinstance(found, list) else [found])]


def _seen(answer: dict[str, Any]) -> Shape:
    assert list(answer) in (["jsonrpc", "result", "id"], ["jsonrpc", "error", "id"]), answer
    assert answer["jsonrpc"] == "2.0"
    if "result" in answer:
        return Shape(json.dumps(answer["id"]), None)
    assert set(answer["error"]) - {"data"} == {"code", "message"}, answer
    code = answer["error"]["code"]
    return Shape(json.dumps(answer["id"]), code if code in (-32700, -32600) else None)


def differences(wanted: Iterable[Shape], seen: Iterable[Shape]) -> str:
    """What is missing and what is too much; empty where nothing is."""
    missing, surplus = Counter(wanted), Counter(seen)
    found = {"missing": dict(missing - surplus), "surplus": dict(surplus - missing)}
    return ", ".join(f"{kind} {shapes}" for kind, shapes in found.items() if shapes)


def pieces(data: bytes, draw: random.Random) -> list[bytes]:
    """The same bytes in writes of any length."""
    found = []
    while data:
        length = draw.choice((1, 7, 100, 5000, 5000))
        found.append(data[:length])
        data = data[length:]
    return found
