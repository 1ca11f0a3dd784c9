"""Outside programs that hear of a server's events, by datagrams and over TCP."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.harness import LIMIT_S, wait_until


class Listener:
    """An outside program that hears of events."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET, name: Any = ("127.0.0.1", 0)) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(LIMIT_S)

    @property
    def name(self) -> str:
        return f"udp:127.0.0.1:{self.socket.getsockname()[1]}"

    def hears(self) -> Any:
        return json.loads(self.socket.recv(65536))


class Subscriber:
    """A program that listens over TCP; it may go away and come back."""

    def __init__(self, port: int = 0, *, answers: str = "") -> None:
        self.answers = answers
        self.told: list[Any] = []
        self._text = ""
        self._connection: socket.socket | None = None
        self._listening = socket.create_server(("127.0.0.1", port))
        self._listening.settimeout(0.01)
        self.port = int(self._listening.getsockname()[1])

    @property
    def name(self) -> str:
        return f"tcp:127.0.0.1:{self.port}"

    def hears(self, count: int = 1) -> list[Any]:
        """All that it was told so far, which are so many at least."""
        wait_until(lambda: self._take() or len(self.told) >= count, what=f"{self.name} hears of {count} events")
        return self.told

    def _take(self) -> None:
        if self._connection is None:
            try:
                self._connection, _ = self._listening.accept()
            except TimeoutError:
                return
            self._connection.settimeout(0.01)
        try:
            data = self._connection.recv(65536)
        except TimeoutError:
            return
        if not data:
            self._connection.close()
            self._connection, self._text = None, ""
            return
        self._text += data.decode()
        while self._text:
            try:
                found, end = json.JSONDecoder().raw_decode(self._text)
            except ValueError:
                return
            self._text = self._text[end:]
            self.told.append(found)
            if self.answers:
                self._connection.sendall(self.answers.replace("ID", str(found["id"])).encode())

    def leaves(self) -> None:
        """Go, and not before the server knows of it."""
        self._listening.close()
        if self._connection is not None:
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.settimeout(LIMIT_S)
            while self._connection.recv(65536):
                pass
        self.goes()

    def goes(self) -> None:
        for one in (self._connection, self._listening):
            if one is not None:
                one.close()
        self._connection = None
