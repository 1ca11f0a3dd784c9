"""What `layby mi` does: ask a running server one MI command over any of its transports.

Every step is bounded by one deadline, and every failure is a `MiClientError` whose text says what to look at. How it is
asked over each transport is in `runtime.mi_wire`.
"""

from __future__ import annotations

import difflib
import errno
import http.client
import json
import re
import secrets
import time
from pathlib import Path
from typing import TypeAlias

from mi_script.commands import INVALID_PARAMS, METHOD_NOT_FOUND, Json
from mi_script.transports.credentials import Unusable, read_token
from runtime.mi_wire import Datagram, Fifo, Http, MiClientError, Target, UnixDatagram, ask

DEFAULT_FIFO = Path("/tmp/layby_fifo")
"""Where module mi_fifo makes its FIFO unless told otherwise."""

_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)(:?=)(.*)", re.DOTALL)
_ARRAYS = {
    "get_statistics": ("statistics", 0),
    "list_statistics": ("statistics", 0),
    "reset_statistics": ("statistics", 0),
    "statistics:get": ("statistics", 0),
    "statistics:list": ("statistics", 0),
    "statistics:reset": ("statistics", 0),
    "raise_event": ("params", 1),
    "evi:raise": ("params", 1),
    "dlg_push_var": ("DID", 2),
    "dialog:push_var": ("DID", 2),
}
"""Commands with a parameter that is an array, and how many stand before it: the rest of the line goes into it."""


class Refused(MiClientError):
    """The server answered with an error: unknown command, wrong parameters, or what the command itself says.

    Args:
        code, reason, data: the JSON-RPC error's ``code``, ``message`` and ``data`` (None when there is none).
    """

    def __init__(self, code: int, reason: str, data: Json = None) -> None:
        more = "" if data is None else f" ({data if isinstance(data, str) else json.dumps(data)})"
        super().__init__(f"{code}: {reason}{more}")
        self.code, self.reason, self.data = code, reason, data


Result: TypeAlias = Json
"""What a command gives back."""


def target_of(
    *,
    fifo: Path | None,
    reply_dir: Path,
    http: str | None,
    datagram: str | None,
    token_file: Path | None = None,
    ca: Path | None = None,
    certificate: tuple[Path, Path] | None = None,
) -> Target:
    """The server that command line options name; without any, the FIFO that module mi_fifo makes by default.

    Args:
        fifo, reply_dir: a FIFO and its reply folder.
        http: a URL.
        datagram: ``HOST:PORT``, or a path with a ``/`` in it for a Unix socket.
        token_file: for HTTP, a file with a token, which its owner alone can read.
        ca, certificate: for HTTP, as in `Http`.

    Raises:
        MiClientError: more than one is named, or `datagram` is neither form, or the file holds no token.
    """
    if sum(each is not None for each in (fifo, http, datagram)) > 1:
        raise MiClientError("name one server: a FIFO, an HTTP address or a datagram address")
    if http is not None:
        return Http(http, _token(token_file), ca, certificate)
    if datagram is None:
        return Fifo(fifo or DEFAULT_FIFO, reply_dir)
    if "/" in datagram:
        return UnixDatagram(Path(datagram))
    host, _, port = datagram.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise MiClientError(f"{datagram!r} is neither HOST:PORT nor the path of a Unix socket, which has a / in it")
    return Datagram(host.strip("[]"), int(port))


def _token(path: Path | None) -> bytes | None:
    try:
        return None if path is None else read_token(path)
    except Unusable as error:
        raise MiClientError(str(error)) from None


def call(target: Target, command: str, arguments: list[str], timeout_s: float) -> Result:
    """Run an MI command.

    Args:
        target: the server.
        command: its name, e.g. ``get_statistics``.
        arguments: all ``NAME=VALUE`` (a string) or ``NAME:=JSON``, for named parameters; or all plain, for
            parameters by position. Of a parameter that is known to be an array, one value or several, at the end.
        timeout_s: seconds for the whole call.

    Returns:
        The command's result.

    Raises:
        Refused: the server answered with an error.
        MiClientError: there was no answer, or none that is one.
    """
    parameters = parse_arguments(arguments, command)
    deadline = time.monotonic() + timeout_s
    identity = secrets.token_hex(8)
    asked = {"jsonrpc": "2.0", "id": identity, "method": command, "params": parameters}
    request = json.dumps(asked, separators=(",", ":")).encode("ascii")
    try:
        answer = ask(target, request, identity, deadline)
    except TimeoutError:
        raise MiClientError(f"{_name(target)} did not answer {command} within {timeout_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise MiClientError(f"{_name(target)}: {_why(error)}") from error
    return _result(answer)


def advise(target: Target, command: str, refused: Refused, timeout_s: float) -> list[str]:
    """What to do about a refusal: how the command can be called, or which ones have a similar name; [] for no idea."""
    try:
        if refused.code == METHOD_NOT_FOUND:
            listed = call(target, "which", [], timeout_s)
            names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
            return [f"is it {name}?" for name in difflib.get_close_matches(command, names)]
        if refused.code == INVALID_PARAMS:
            recipes = call(target, "which", [command], timeout_s)
            known = [one for one in recipes if isinstance(one, list)] if isinstance(recipes, list) else []
            return [" ".join(["usage:", command, *map(str, one)]) for one in known]
    except MiClientError:
        pass
    return []


def parse_arguments(arguments: list[str], command: str = "") -> list[Json] | dict[str, Json]:
    """The call's `params`: an object for named arguments, an array for plain ones.

    Args:
        arguments: as for `call`.
        command: for those that have a parameter that is an array.

    Raises:
        MiClientError: both kinds are mixed, a name comes twice, or what follows ``:=`` is no JSON.
    """
    matches = [_NAMED.fullmatch(argument) for argument in arguments]
    named = [match for match in matches if match is not None]
    array, before = _ARRAYS.get(command, ("", len(arguments)))
    if not named:
        last: list[Json] = [list[Json](arguments[before:])] if len(arguments) > before else []
        return [*arguments[:before], *last]
    if len(named) != len(arguments):
        plain = next(argument for argument, match in zip(arguments, matches, strict=True) if match is None)
        raise MiClientError(f"parameters are all NAME=VALUE or all plain, not mixed: {plain!r} has no name")
    parameters: dict[str, Json] = {}
    for match in named:
        if match[1] in parameters:
            raise MiClientError(f"parameter {match[1]!r} is given twice")
        parameters[match[1]] = match[3] if match[2] == "=" else _json_argument(match[1], match[3])
        if match[2] == "=" and match[1] == array:
            parameters[array] = list[Json](match[3].split())
    return parameters


def _json_argument(name: str, text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MiClientError(f"what follows {name}:= is no JSON: {error}") from None
    return value


def _name(target: Target) -> str:
    match target:
        case Fifo(path=path) | UnixDatagram(path=path):
            return str(path)
        case Http(url=url):
            return url
        case Datagram(host=host, port=port):
            return f"udp:{host}:{port}"


def _why(error: Exception) -> str:
    match error:
        case OSError(errno=errno.ENXIO):
            return "nobody reads this FIFO; is the server running?"
        case FileNotFoundError():
            return "no such file; is the server running, and is this its path?"
        case ConnectionRefusedError():
            return "nobody listens there; is the server running?"
        case OSError() if error.strerror:
            return error.strerror
    return str(error) or type(error).__name__


def _result(answer: dict[str, Json]) -> Json:
    error = answer.get("error")
    if isinstance(error, dict):
        code, reason = error.get("code"), error.get("message")
        if isinstance(code, int) and isinstance(reason, str):
            raise Refused(code, reason, error.get("data"))
    if error is not None:
        raise MiClientError(f"the error in the answer has no code or no message: {json.dumps(error)[:200]}")
    if "result" not in answer:
        raise MiClientError("the answer has neither a result nor an error")
    return answer["result"]
