"""URIs (RFC 3261 19.1, RFC 3966)."""

from __future__ import annotations

import pytest

from runtime.sip.uri import Uri, parse_uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:example.com", Uri("sip", "", "example.com")),
        ("sip:alice@example.com", Uri("sip", "alice", "example.com")),
        ("sips:alice:pw@example.com:5061", Uri("sips", "alice", "example.com", "pw", 5061)),
        ("sip:a:@b", Uri("sip", "a", "b", "")),
        ("sip:a@[2001:db8::1]:5070;lr", Uri("sip", "a", "[2001:db8::1]", None, 5070, {"lr": None})),
        (
            "sip:a%40x;y?z=/@b;transport=tcp;x?Subject=1&y=2",
            Uri("sip", "a%40x;y?z=/", "b", None, None, {"transport": "tcp", "x": None}, "Subject=1&y=2"),
        ),
        ("tel:+358-555-1234567;postd=pp22", Uri("tel", "+358-555-1234567", "", params={"postd": "pp22"})),
    ],
)
def test_uris_in_their_parts_and_back(text: str, uri: Uri) -> None:
    assert parse_uri(text) == uri
    assert str(uri) == text


def test_scheme_and_parameter_names_in_any_case() -> None:
    assert parse_uri("SIP:a@b;Transport=TCP") == Uri("sip", "a", "b", params={"transport": "TCP"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip:@b",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b:99999",
        "sip:a@b:",
        "sip:a@b:5o",
        "sip:a@[::1",
        "sip:a@[::1]x",
        "sip:a@b c",
        "sip:a@b\r\nX: y",
        "sip:a<b@c",
        "<sip:a@b>",
        "http://example.com",
        "alice@example.com",
        "tel:",
        "tel:alice",
        "tel:+1 2",
        "sip:" + "a" * 10_000 + "@b",
    ],
)
def test_what_is_no_uri(text: str) -> None:
    assert parse_uri(text) is None
