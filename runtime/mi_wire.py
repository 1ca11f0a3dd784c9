"""How `layby mi` asks over each of MI's transports: one request, one answer, one deadline.

JSON-RPC 2.0 in one datagram, in one POST, or in one line of a FIFO with the name of a reply FIFO before it, as
OpenSIPS's own clients do it.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import secrets
import select
import socket
import ssl
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from mi_script.commands import Json

_LONGEST_ANSWER = 16 << 20
_LONGEST_DATAGRAM = 65_535


@dataclass(frozen=True, slots=True)
class Fifo:
    """A server's command FIFO, and the folder in which it looks for reply FIFOs."""

    path: Path
    reply_dir: Path


@dataclass(frozen=True, slots=True)
class Http:
    """A server's HTTP address, e.g. ``http://127.0.0.1:8888/mi``.

    Args:
        url: it.
        token: what the server wants to see, or None.
        ca: with ``https``: who has signed the server's certificate, a PEM file; None for those that the system trusts.
        certificate: our own certificate and its key, PEM files; None for none.
    """

    url: str
    token: bytes | None = None
    ca: Path | None = None
    certificate: tuple[Path, Path] | None = None


@dataclass(frozen=True, slots=True)
class Datagram:
    """A server's UDP address for MI."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixDatagram:
    """A server's Unix datagram socket for MI."""

    path: Path


Target: TypeAlias = Fifo | Http | Datagram | UnixDatagram


class MiClientError(Exception):
    """No result could be had: the arguments are no call, nobody is there, or what came back is no answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def ask(target: Target, request: bytes, identity: str, deadline: float) -> dict[str, Json]:
    """Send a request, and wait for its answer.

    Args:
        target: the server.
        request: the JSON-RPC text, on one line.
        identity: the ``id`` in it.
        deadline: seconds of the monotonic clock.

    Returns:
        The JSON-RPC object that came back.

    Raises:
        TimeoutError: nothing came in time.
        OSError, http.client.HTTPException: the server cannot be reached.
        MiClientError: what came back is no answer.
    """
    match target:
        case Fifo():
            return _only(_ask_fifo(target, request, deadline), identity)
        case Http():
            return _only(_ask_http(target, request, deadline), identity)
        case Datagram():
            return _ask_udp(target, request, identity, deadline)
        case UnixDatagram():
            return _ask_unix(target, request, identity, deadline)


def _only(text: bytes, identity: str) -> dict[str, Json]:
    answer = _read_answer(text, identity)
    if answer is None:
        raise MiClientError("the answer belongs to another call")
    return answer


def _read_answer(text: bytes, identity: str) -> dict[str, Json] | None:
    """The server's answer; None when it answers another call.

    An error may come with ``id`` null: the server could then not tell which call it was (JSON-RPC 2.0, section 5).
    """
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise MiClientError(f"the answer is no JSON: {_shown(text)}") from None
    if not isinstance(answer, dict):
        raise MiClientError(f"the answer is no JSON-RPC object: {_shown(text)}")
    is_ours = answer.get("id") == identity or (answer.get("id") is None and "error" in answer)
    return answer if is_ours else None


def _shown(text: bytes) -> str:
    return repr(text[:200].decode("utf-8", "replace")) + ("…" if len(text) > 200 else "")


def _remaining_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _wait(descriptor: int, event: int, deadline: float) -> None:
    """Until `descriptor` is ready for `event`, or its other end is gone. Raises TimeoutError at the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    while not poll.poll(1000 * _remaining_s(deadline)):
        pass


# FIFO: ":name:JSON" in one write; the answer comes through a FIFO of that name, which is made first.


def _ask_fifo(target: Fifo, request: bytes, deadline: float) -> bytes:
    with _open_fifo(target.path) as commands, _reply_fifo(target.reply_dir) as (name, replies):
        _write_at_once(commands, b":%s:%s" % (name.encode("ascii"), request), deadline)
        return _read_to_end(replies, deadline)


@contextlib.contextmanager
def _open_fifo(path: Path) -> Iterator[int]:
    # Non-blocking: without a reader this is an error at once (ENXIO), where a blocking open would hang.
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise MiClientError(f"{path} is no FIFO")
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _reply_fifo(folder: Path) -> Iterator[tuple[str, int]]:
    name = f"layby_reply_{os.getpid()}_{secrets.token_hex(8)}"  # the server takes no ".", "/" or "\" in it
    path = folder / name
    try:
        os.mkfifo(path, 0o600)
    except OSError as error:
        raise MiClientError(f"no reply FIFO can be made in {folder}: {error.strerror}") from error
    try:
        # Open before the server hears of it, so that it finds a reader; non-blocking, since it has no writer yet.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield name, descriptor
        finally:
            os.close(descriptor)
    finally:
        path.unlink(missing_ok=True)


def _write_at_once(descriptor: int, text: bytes, deadline: float) -> None:
    # The server takes what one write brought as one command. The kernel keeps a write together up to PIPE_BUF
    # (4096 bytes); a longer one is kept together only while the pipe has room for all of it.
    too_long = MiClientError(f"the call is too long for the FIFO ({len(text)} bytes); use another transport")
    if len(text) > fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ):
        raise too_long
    while True:
        _wait(descriptor, select.POLLOUT, deadline)
        try:
            written = os.write(descriptor, text)
        except BlockingIOError:
            continue
        if written < len(text):
            raise too_long
        return


def _read_to_end(descriptor: int, deadline: float) -> bytes:
    text = bytearray()
    while True:
        # Before the server has opened its end this waits; only after it has closed it is there an end to read.
        _wait(descriptor, select.POLLIN, deadline)
        try:
            part = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            continue
        if not part:
            return bytes(text)
        text += part
        _check_length(len(text))


def _check_length(length: int) -> None:
    if length > _LONGEST_ANSWER:
        raise MiClientError(f"the answer is longer than {_LONGEST_ANSWER} bytes")


# HTTP: one POST.


def _ask_http(target: Http, request: bytes, deadline: float) -> bytes:
    host, port, path, tls = _parse_url(target.url)
    headers = {"Content-Type": "application/json"}
    if target.token is not None:
        headers["Authorization"] = f"Bearer {target.token.decode()}"
    connection = http.client.HTTPConnection(host, port, timeout=_remaining_s(deadline))
    if tls:
        connection = http.client.HTTPSConnection(host, port, timeout=_remaining_s(deadline), context=_tls(target))
    with contextlib.closing(connection):
        connection.connect()
        own_socket = connection.sock  # the connection forgets it when the server says that it will close
        connection.request("POST", path, request, headers)
        own_socket.settimeout(_remaining_s(deadline))
        with connection.getresponse() as response:
            text = bytearray()
            while part := response.read1(1 << 16):
                text += part
                _check_length(len(text))
                if not response.isclosed():
                    own_socket.settimeout(_remaining_s(deadline))
    if not text or (response.status != 200 and "json" not in response.headers.get("Content-Type", "")):
        raise MiClientError(f"{target.url}: HTTP {response.status} {response.reason} {_shown(bytes(text))}")
    return bytes(text)


def _tls(target: Http) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=target.ca)
        if target.certificate is not None:
            context.load_cert_chain(*target.certificate, password=lambda: "")
    except (OSError, ValueError) as error:  # what is wrong with a file is an OSError too
        raise MiClientError(f"{target.url}: cannot use the certificates: {error}") from None
    return context


def _parse_url(url: str) -> tuple[str, int, str, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise MiClientError(f"{url}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise MiClientError(f"{url!r} is no address like http://127.0.0.1:8888/mi")
    tls = parts.scheme == "https"
    path = (parts.path or "/mi") + (f"?{parts.query}" if parts.query else "")
    return host, port or (443 if tls else 80), path, tls


# Datagrams: one each way.


def _ask_udp(target: Datagram, request: bytes, identity: str, deadline: float) -> dict[str, Json]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as asking:
        asking.connect(address)
        return _exchange(asking, request, identity, deadline)


def _ask_unix(target: UnixDatagram, request: bytes, identity: str, deadline: float) -> dict[str, Json]:
    # The answer needs an address: a socket file of ours, in a folder that nobody else may enter.
    with (
        tempfile.TemporaryDirectory(prefix="layby-mi-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking,
    ):
        asking.bind(os.path.join(folder, "reply"))
        asking.connect(os.fspath(target.path))
        return _exchange(asking, request, identity, deadline)


def _exchange(asking: socket.socket, request: bytes, identity: str, deadline: float) -> dict[str, Json]:
    if len(request) > _LONGEST_DATAGRAM:
        raise MiClientError(f"the call is too long for a datagram ({len(request)} bytes); use another transport")
    asking.settimeout(_remaining_s(deadline))
    asking.send(request)
    while True:
        asking.settimeout(_remaining_s(deadline))
        answer = _read_answer(asking.recv(_LONGEST_DATAGRAM), identity)
        if answer is not None:
            return answer
