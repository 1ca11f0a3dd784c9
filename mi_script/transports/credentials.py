"""Tokens and certificates for HTTP, read from files so that no script and no log has them."""

from __future__ import annotations

import os
import re
import ssl
import stat
from pathlib import Path
from typing import Final

_MOST_TOKEN_BYTES: Final = 4096
_LEAST_TOKEN_BYTES: Final = 16
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 section 2.1: what a bearer token is made of."""


class Unusable(ValueError):
    """A file cannot be used for what it was named for; the text says why, and nothing of what is in it."""


def read_token(path: Path) -> bytes:
    """The bearer token in a file: one line of at least 16 characters, in a file that its owner alone can read.

    Raises:
        Unusable: it is no such file.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(_MOST_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise Unusable(f"token file {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Unusable(
            f"token file {path} has the mode {stat.S_IMODE(mode):04o}: only its owner may read it, chmod 600"
        )
    if not _LEAST_TOKEN_BYTES <= len(token) <= _MOST_TOKEN_BYTES or not _TOKEN.fullmatch(token):
        raise Unusable(
            f"token file {path} must hold one line of {_LEAST_TOKEN_BYTES} to {_MOST_TOKEN_BYTES} letters, digits and "
            "-._~+/ (openssl rand -hex 32)"
        )
    return token


def tls_context(certificate: Path, key: Path, client_ca: Path | None, ciphers: str = "") -> ssl.SSLContext:
    """How a server encrypts.

    Args:
        certificate: its certificate with those that lead to its CA's, PEM.
        key: the private key of it, PEM.
        client_ca: the CAs of clients' certificates, PEM; without it clients need none.
        ciphers: what to offer up to TLS 1.2, as OpenSSL spells it; OpenSSL's own choice where empty.

    Raises:
        Unusable: a file cannot be read or is not what it should be, key and certificate do not belong together, or
            there are no such ciphers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # costs a client nothing, and a server a signature each time
    for path in (certificate, key, *((client_ca,) if client_ca else ())):
        _see_readable(path)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise Unusable(f"certificate {certificate} and private key {key}: {_reason(error)}") from error
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            raise Unusable(f"CA of clients {client_ca}: {_reason(error)}") from error
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as error:
            raise Unusable(f"ciphers {ciphers!r}: {_reason(error)}") from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password, which nobody could type")


def _see_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error.args[0])
