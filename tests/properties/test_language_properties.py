"""What holds of the language's documents, descriptions and texts, whatever they are given."""

from __future__ import annotations

import contextlib
import json
import re

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.modules.catalog import CATALOG
from runtime.script import documents, sdp_access
from runtime.script.access import Unwritable
from runtime.script.evaluating import evaluator
from runtime.script.known import known_of
from runtime.script.sdp_changes import Move, change_codecs, has_codec, has_stream, without_streams
from runtime.sip.message import dummy_request
from tests.runtime.script.conftest import make_context

LATIN = st.text(st.characters(max_codepoint=255), max_size=12)
KEYS = st.text(st.sampled_from('ab/[]0.é\\"'), min_size=1, max_size=4)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | LATIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PATHS = st.lists(
    st.sampled_from(["d", "/", "a", "b", "[0]", "[-1]", "[]", "[", ".keys", "\ue000", "\ue001", "1"]), max_size=7
)
LINES = st.sampled_from(
    [
        "v=0",
        "a=x",
        "a=rtpmap:97 SPEEX/8000",
        "m=audio 1 RTP/AVP 0 97",
        "m=video",
        "m=",
        "a=fmtp:97 a=1;b=2",
        "",
        "é",
        "=",
    ]
)
SDP = st.builds(lambda lines, end: end.join([*lines, ""]), st.lists(LINES, max_size=9), st.sampled_from(["\r\n", "\n"]))
SDP_PATHS = st.text(st.sampled_from("am=x/[]019\\;: v"), max_size=9)


@given(VALUES)
def test_what_is_written_as_json_is_read_as_the_same(value):
    for layout in (documents.spaced, documents.compact, documents.without_escapes, documents.pretty):
        assert documents.read(layout(value)) == value
    assert json.loads(documents.spaced(value)) == value


@given(st.text(max_size=30) | st.text(st.sampled_from('[]{}",:\\u09ae '), max_size=30))
def test_any_text_is_json_or_refused(text):
    with contextlib.suppress(Unwritable):
        documents.read(text)
        event("read")


@given(VALUES, PATHS, VALUES)
def test_what_is_put_somewhere_is_found_there_and_can_be_taken_away(document, pieces, value):
    held, path = {"d": document}, documents.parse_path("".join(pieces))
    try:
        documents.put(held, path, value)
    except Unwritable:
        event("refused")
        assert held == {"d": document}
        return
    event("put")
    steps = [-1 if step is None else step for step in path.steps]
    path = path._replace(steps=tuple(steps))
    assert documents.find(held, path) == value
    documents.remove(held, path)
    if not path.steps or isinstance(path.steps[-1], str):
        assert isinstance(documents.find(held, path), documents.Missing)


@given(KEYS, VALUES)
def test_a_key_from_a_variable_is_one_key(key, value):
    held = {"d": {}}
    documents.put(held, documents.parse_path(f"d/{documents.mark(key)}"), value)
    assert held == {"d": {key: value}}


@given(SDP, SDP_PATHS, LATIN | st.none())
def test_a_description_is_read_and_changed_by_any_path(text, path, value):
    for get, put in (
        (sdp_access.get_line, sdp_access.set_line),
        (sdp_access.get_session, sdp_access.set_session),
        (sdp_access.get_stream, sdp_access.set_stream),
    ):
        c = make_context(dummy_request().raw)
        c.body = text.encode("latin-1")
        before = get(c, path)
        sdp_access.get_stream_index(c, path)
        try:
            put(c, path, value)
        except Unwritable:
            assert c.body == text.encode("latin-1")
        else:
            event("changed")
            assert before is not None
            assert len(c.body) <= len(text) + len(value or "") + 2


@given(SDP, st.sampled_from(["speex", "pcmu", ""]), st.sampled_from(Move))
def test_codecs_go_away_or_move_and_nothing_else_does(text, name, move):
    changed = change_codecs(text, lambda codec: codec.name.lower() == name, move)
    if changed is None:
        return
    event(move.value)
    assert len(changed) <= len(text)
    if move is not Move.AWAY:
        assert sorted(re.findall(r"[^ \r\n]+", changed)) == sorted(re.findall(r"[^ \r\n]+", text))
        assert has_codec(changed, lambda codec: codec.name.lower() == name)


@given(SDP)
def test_streams_of_a_kind_go_away_as_a_whole(text):
    audio = re.compile("audio")
    left = without_streams(text, audio)
    assert (left is not None) == has_stream(text, audio)
    assert left is None or not has_stream(left, audio)


KNOWN = known_of(CATALOG.values())
EVALUATE = evaluator(KNOWN)
NAMES = st.sampled_from(
    ["$rU", "$(hdr(Via)[*]{s.len})", "$(avp(x)[-1])", "$var(a)", "$sdp", "$nope", "$(ru{uri.host}", "$$"]
)


@given(st.lists(NAMES | st.text(st.sampled_from("a$({[]})., "), max_size=5), max_size=5))
def test_any_text_is_evaluated_or_null(pieces):
    c = make_context()
    value = EVALUATE(c, "".join(pieces))
    event("null" if value is None else "text")
    assert value is None or isinstance(value, str)
