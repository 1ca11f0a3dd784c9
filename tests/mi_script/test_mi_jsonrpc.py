"""JSON-RPC texts and what they are: the table of the specification and of hostile input."""

from __future__ import annotations

import json

import pytest

from mi_script.calls import Call, Fault
from mi_script.jsonrpc import (
    MAX_BATCH,
    MAX_DEPTH,
    Batch,
    Malformed,
    Request,
    Single,
    decode,
    dump,
    fault_text,
    result_text,
)

PARSE_ERROR = Fault(-32700, "Parse error")
INVALID = Fault(-32600, "Invalid Request")
UPTIME = '{"jsonrpc":"2.0","method":"uptime"%s}'


def single(text):
    decoded = decode(text.encode() if isinstance(text, str) else text)
    assert isinstance(decoded, Single)
    return decoded.item


@pytest.mark.parametrize(
    ("rest", "params", "id", "notification"),
    [
        ("", None, None, True),
        (',"id":null', None, None, False),
        (',"id":1', None, 1, False),
        (',"id":-0.5', None, -0.5, False),
        (',"id":1.5', None, 1.5, False),
        (',"id":"1"', None, "1", False),
        (',"id":""', None, "", False),
        (',"id":123456789012345678901234567890', None, 123456789012345678901234567890, False),
        (',"params":[],"id":1', [], 1, False),
        (',"params":{},"id":1', {}, 1, False),
        (',"params":["a",1,null,true,[{}]],"id":1', ["a", 1, None, True, [{}]], 1, False),
        (',"params":{"a":1,"a":2},"id":1', {"a": 2}, 1, False),
        (',"more":{},"id":1', None, 1, False),
    ],
)
def test_requests(rest, params, id, notification):
    item = single(UPTIME % rest)
    params = {} if params is None else params
    assert item == Request(Call("uptime", params), id, notification)
    assert type(item.id) is type(id)


@pytest.mark.parametrize("tail", [" ", "\n", "\0", "}", UPTIME % "", "\N{SNOWMAN}"])
def test_what_follows_the_request_is_ignored(tail):
    assert single(" \r\n\t" + UPTIME % ',"id":7' + tail) == Request(Call("uptime", {}), 7)


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("1", None),
        ('"x"', None),
        ("null", None),
        ("[]", None),
        ("{}", None),
        ('{"method":"uptime","id":1}', 1),
        ('{"jsonrpc":"1.0","method":"uptime","id":1}', 1),
        ('{"jsonrpc":2.0,"method":"uptime","id":1}', 1),
        ('{"jsonrpc":"2.0","id":"a"}', "a"),
        ('{"jsonrpc":"2.0","method":1,"id":"a"}', "a"),
        ('{"jsonrpc":"2.0","method":null}', None),
        (UPTIME % ',"params":1,"id":1.5', 1.5),
        (UPTIME % ',"params":"x","id":1', 1),
        (UPTIME % ',"params":null,"id":1', 1),
        (UPTIME % ',"id":{}', None),
        (UPTIME % ',"id":[]', None),
        (UPTIME % ',"id":true', None),
    ],
)
def test_invalid_requests(text, id):
    assert single(text) == Malformed(INVALID, id)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"\0",
        b"{",
        b"}",
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0",}',
        b"\xff" + (UPTIME % "").encode(),
        (UPTIME % ',"id":"\xe4"').encode("latin-1"),
        b"\xef\xbb\xbf" + (UPTIME % "").encode(),
        (UPTIME % ',"id":NaN').encode(),
        (UPTIME % ',"id":-Infinity').encode(),
        (UPTIME % ',"id":1e999').encode(),
        (UPTIME % ',"id":"\n"').encode(),
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_parse_errors(text):
    assert single(text) == Malformed(PARSE_ERROR)


def test_bounds_say_themselves():
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert isinstance(single(UPTIME % f',"params":{deep}'), Request)
    deeper = single(UPTIME % f',"params":[{deep}]')
    assert deeper == Malformed(Fault(-32700, "Parse error", f"nested more than {MAX_DEPTH} deep"))
    assert decode(b" " * 11, max_bytes=10) == Single(Malformed(Fault(-32700, "Parse error", "longer than 10 bytes")))


def test_surrogates():
    assert single(UPTIME % r',"id":"\ud83d\ude00"').id == "\N{GRINNING FACE}"
    assert single(UPTIME % r',"id":"\\ud800"').id == "\\ud800"
    assert single(UPTIME % r',"id":"\uD800"').fault.code == -32700


@pytest.mark.parametrize(
    ("text", "stray"),
    [
        ('{"jsonrpc":"2.0","result":1,"id":1}', True),
        ('{"error":{"code":-32700,"message":"Parse error"},"id":null}', True),
        ('{"jsonrpc":"2.0","method":"x","result":1,"params":2}', False),
        ("{}", False),
    ],
)
def test_answers_that_lost_their_way(text, stray):
    assert single(text).stray is stray


def test_batches():
    one, wrong = json.loads(UPTIME % ',"id":1'), {"foo": "boo"}
    assert decode(json.dumps([one, wrong, 1, []]).encode()) == Batch(
        (Request(Call("uptime", {}), 1), Malformed(INVALID), Malformed(INVALID), Malformed(INVALID))
    )
    assert len(decode(json.dumps([one] * MAX_BATCH).encode()).items) == MAX_BATCH
    refused = Fault(-32600, "Invalid Request", f"a batch holds at most {MAX_BATCH} requests")
    assert single(json.dumps([one] * (MAX_BATCH + 1))) == Malformed(refused)


@pytest.mark.parametrize(
    ("id", "text"),
    [(1, "1"), (1.5, "1.5"), ("1", '"1"'), (None, "null"), ("ä\n", '"ä\\n"'), (2**70, "1180591620717411303424")],
)
def test_answers_echo_the_id(id, text):
    assert result_text('"OK"', id) == f'{{"jsonrpc":"2.0","result":"OK","id":{text}}}'
    assert fault_text(Fault(404, "no"), id) == f'{{"jsonrpc":"2.0","error":{{"code":404,"message":"no"}},"id":{text}}}'


def test_error_object_with_data():
    text = fault_text(Fault(-32602, "Invalid params", "why"), 1)
    assert text == '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params","data":"why"},"id":1}'


@pytest.mark.parametrize(
    ("value", "compact", "pretty"),
    [
        ("OK", '"OK"', '"OK"'),
        (None, "null", "null"),
        ([], "[]", "[]"),
        ({}, "{}", "{\n}"),
        ({"a": {}}, '{"a":{}}', '{\n\t"a":\t{\n\t}\n}'),
        ([1, "ä", 2.5], '[1,"ä",2.5]', '[1, "ä", 2.5]'),
        (
            {"Dialogs": [{"ID": "1"}, {"ID": "2"}], "n": 2},
            '{"Dialogs":[{"ID":"1"},{"ID":"2"}],"n":2}',
            '{\n\t"Dialogs":\t[{\n\t\t\t"ID":\t"1"\n\t\t}, {\n\t\t\t"ID":\t"2"\n\t\t}],\n\t"n":\t2\n}',
        ),
        ("\ud800ä", '"\\ud800\\u00e4"', '"\\ud800\\u00e4"'),
    ],
)
def test_dump(value, compact, pretty):
    assert dump(value) == compact
    assert dump(value, pretty=True) == pretty
    assert json.loads(dump(value, pretty=True)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {"a": b""}, {1, 2}])
def test_dump_refuses_what_is_no_json(value):
    with pytest.raises((ValueError, TypeError)):
        dump(value)
