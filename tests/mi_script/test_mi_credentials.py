"""Files with secrets: which of them can be used, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mi_script.transports.credentials import Unusable, read_token, tls_context

CERTIFICATES = Path(__file__).parent / "certificates"
TOKEN = "0123456789abcdef-._~+/=="


@pytest.mark.parametrize("text", [TOKEN, TOKEN + "\n", f"  {TOKEN}\r\n", "a" * 4096])
def test_a_token(tmp_path, text):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(text)
    assert read_token(path) == text.strip().encode()


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TOKEN, 0o640, "has the mode 0640"),
        (TOKEN, 0o604, "has the mode 0604"),
        ("", 0o600, "must hold one line of 16 to 4096"),
        ("short", 0o600, "must hold one line of 16 to 4096"),
        (f"{TOKEN}\n{TOKEN}", 0o600, "must hold one line of 16 to 4096"),
        ("ä" * 20, 0o600, "must hold one line of 16 to 4096"),
        ("a" * 4097, 0o600, "must hold one line of 16 to 4096"),
    ],
)
def test_a_file_that_holds_no_token(tmp_path, text, mode, said):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(Unusable, match=said) as told:
        read_token(path)
    assert str(path) in str(told.value)
    assert not text or text not in str(told.value)


def test_no_file(tmp_path):
    with pytest.raises(Unusable, match="No such file or directory"):
        read_token(tmp_path / "none")
    with pytest.raises(Unusable, match="Is a directory"):
        read_token(tmp_path)


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "ciphers", "said"),
    [
        ("none.pem", "server.key", None, "", r"none\.pem: No such file or directory"),
        ("server.pem", "none.key", None, "", r"none\.key: No such file or directory"),
        ("server.pem", "server.key", "none.pem", "", r"none\.pem: No such file or directory"),
        ("server.pem", "stranger.key", None, "", r"server\.pem and private key .*stranger\.key: key values mismatch"),
        ("server.pem", "locked.key", None, "", r"locked\.key: the key has a password"),
        ("README.md", "server.key", None, "", r"README\.md and private key .*server\.key: "),
        ("server.pem", "server.key", "README.md", "", r"CA of clients .*README\.md: "),
        ("server.pem", "server.key", None, "NOSUCH", "ciphers 'NOSUCH': "),
    ],
)
def test_files_that_do_not_make_a_server(certificate, key, ca, ciphers, said):
    files = CERTIFICATES / certificate, CERTIFICATES / key, CERTIFICATES / ca if ca else None
    with pytest.raises(Unusable, match=said):
        tls_context(*files, ciphers)


def test_a_file_that_may_not_be_read(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = tmp_path / "server.key"
    path.touch(0)
    with pytest.raises(Unusable, match="Permission denied"):
        tls_context(CERTIFICATES / "server.pem", path, None)
