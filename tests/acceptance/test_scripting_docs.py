"""docs/scripting.md: each recipe's two texts, one in either language, do the same in a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runtime.program import Program
from tests.harness import ROOT, Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

DOC = (ROOT / "docs" / "scripting.md").read_text()
TESTED: set[str] = set()


class Recipe(NamedTuple):
    cfg: str
    python: str


def blocks(text: str) -> Recipe:
    [cfg] = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    [python] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return Recipe(cfg, python)


SECTION = DOC[DOC.index("## Recipes") :]
HEAD = blocks(SECTION.partition("\n### ")[0])
RECIPES = {part.partition("\n")[0]: blocks(part) for part in SECTION.split("\n### ")[1:]}


@pytest.fixture(params=["cfg", "python"])
def start(request: pytest.FixtureRequest, start_server: Callable[..., Server]) -> Callable[[str], Server]:
    """Start the recipe of that title, in one language and then in the other."""

    def run(title: str) -> Server:
        python = request.param == "python"
        options = ("--udp-workers", "2", "--mi-workers", "2")
        return start_server(RECIPES[title][python], options=options, python=python)

    return run


def recipe(title: str) -> Callable[[Any], Any]:
    """The test runs this recipe."""
    TESTED.add(title)
    return pytest.mark.parametrize("title", [title], ids=[""])


@pytest.fixture
def phones(request: pytest.FixtureRequest) -> Iterator[Callable[[Server], tuple[Peer, Peer, Peer]]]:
    made: list[Peer] = []

    def make(server: Server) -> tuple[Peer, Peer, Peer]:
        made.extend(Peer(server.sip_port) for _ in range(3))
        return made[0], made[1], made[2]

    yield make
    for one in made:
        one.close()


def invite(caller: Peer, callee: Peer, user: str = "bob") -> tuple[str, str]:
    """An INVITE to a phone by its address; its text and Call-ID."""
    text = caller.request("INVITE", f"sip:{user}@127.0.0.1:{callee.port}")
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


def register(phone: Peer, user: str, here: str) -> None:
    text = phone.request("REGISTER", f"sip:{here}", extra="Expires: 60\r\n")
    phone.send(text.replace(f"To: <sip:{here}>", f"To: <sip:{user}@{here}>"))
    phone.wait_reply(Received(text, ("", 0)).call_id, 200)


def stored(server: Server, attr: str) -> str:
    """What stands in the cache under a name, as soon as it does."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "cache_fetch", "params": {"system": "local", "attr": attr}}
    return str(wait_until(lambda: server.rpc(json.dumps(call)).get("result"), what=attr)["value"])


def test_every_recipe_is_run() -> None:
    assert set(RECIPES) == TESTED
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("language", ["cfg", "py"])
@pytest.mark.parametrize("title", RECIPES)
def test_it_loads_without_a_warning_behind_the_modules_of_the_page(tmp_path: Path, language: str, title: str) -> None:
    at = language == "py"
    script = tmp_path / f"recipe.{language}"
    script.write_text(HEAD[at] + RECIPES[title][at])
    assert Program.load(script).warnings() == []


def test_the_first_script_of_the_page_loads(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(blocks_of("python", DOC)[0])
    assert Program.load(script).warnings() == []


def blocks_of(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_types_are_right_as_strictly_as_can_be(tmp_path: Path) -> None:
    for number, found in enumerate(RECIPES.values()):
        (tmp_path / f"recipe{number}.py").write_text(HEAD.python + found.python)
    files = [*map(str, tmp_path.glob("*.py")), "examples/app.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *files], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout


@recipe("Answer OPTIONS")
def test_options(start: Callable[[str], Server], title: str) -> None:
    client = start(title).client()
    assert client.ask("x").status == 200
    assert client.ask("x", "MESSAGE").reason == "Method Not Allowed"


@recipe("Relay, and stay in the path of the call")
def test_relaying(start: Callable[[str], Server], title: str, phones: Any) -> None:
    server = start(title)
    caller, callee, _ = phones(server)
    _, call_id = invite(caller, callee)
    arrived = callee.wait_request("INVITE")
    assert len(arrived.headers("Record-Route")) == 1
    callee.reply(arrived, 200)
    answer = caller.wait_reply(call_id, 200)

    routes = "".join(f"Route: {route}\r\n" for route in answer.headers("Record-Route")[::-1])
    tag = answer.header("To").partition(";tag=")[2]
    caller.send(caller.request("ACK", callee.uri, call_id=call_id, to_tag=tag, extra=routes))
    assert callee.wait_request("ACK").call_id == call_id
    stray = caller.request("BYE", callee.uri, to_tag="none")
    caller.send(stray)
    assert caller.wait_final(Received(stray, ("", 0)).call_id).start == "SIP/2.0 404 Not Here"


@recipe("A registrar")
def test_a_registrar(start: Callable[[str], Server], title: str, phones: Any) -> None:
    server = start(title)
    caller, phone, _ = phones(server)
    here = f"127.0.0.1:{server.sip_port}"
    register(phone, "bob", here)
    caller.send(caller.request("MESSAGE", f"sip:bob@{here}"))
    message = phone.wait_request("MESSAGE")
    phone.reply(message, 200)
    assert message.ruri == phone.uri
    assert server.client().ask("nobody").reason == "Not Registered"


@recipe("List dialogs page by page")
def test_pages(start: Callable[[str], Server], title: str, phones: Any) -> None:
    server = start(title)
    caller, callee, _ = phones(server)
    arrived = []
    for _ in range(3):
        _, call_id = invite(caller, callee)
        arrived.append(callee.wait_request("INVITE"))
        callee.reply(arrived[-1], 180)
        caller.wait_reply(call_id, 180)

    answer = server.client().ask("x")
    assert re.findall(r"X-Page: (.*)\r\n", answer.text) == ["from 0", "from 2"]
    for ringing in arrived:  # or the server waits for them before it ends
        callee.reply(ringing, 486)
        caller.wait_reply(ringing.call_id, 486)


@recipe("Several commands and one wait")
def test_gathering(start: Callable[[str], Server], title: str) -> None:
    server = start(title)
    answer = server.client().ask("x")
    assert (answer.status, answer.header("X-Server")) == (200, server.mi("version")["Server"])


@recipe("Start a reload and go on")
def test_a_reload_with_a_report(start: Callable[[str], Server], title: str) -> None:
    server = start(title)
    answer = server.client().ask("x")
    assert answer.status == 202
    assert stored(server, "reload") == f"1 asked by {answer.header('Call-ID')}"


@recipe("A time-out, and what to do with each code")
def test_each_code(start: Callable[[str], Server], title: str) -> None:
    client = start(title).client()
    found = [client.ask("x", extra=f"X-Ms: {ms}\r\n") for ms in (1, -1, 8000)]
    assert [(one.status, one.reason) for one in found] == [
        (200, "OK"),
        (500, "Bad parameter value"),
        (504, "Too Slow"),
    ]


@recipe("Failover that asks first")
def test_failover(start: Callable[[str], Server], title: str, phones: Any) -> None:
    server = start(title)
    caller, first, second = phones(server)
    register(second, "bob", f"127.0.0.1:{server.sip_port}")
    _, call_id = invite(caller, first)
    first.reply(first.wait_request("INVITE"), 486)
    arrived = second.wait_request("INVITE")
    assert arrived.ruri == second.uri
    second.reply(arrived, 200)
    caller.wait_reply(call_id, 200)

    text, call_id = invite(caller, first, "carol")
    first.reply(first.wait_request("INVITE"), 486)
    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert final.status == 486


@recipe("Hold a reply until something is known")
def test_a_held_reply(start: Callable[[str], Server], title: str, phones: Any) -> None:
    server = start(title)
    caller, callee, _ = phones(server)
    _, call_id = invite(caller, callee)
    arrived = callee.wait_request("INVITE")
    callee.reply(arrived, 180)
    assert caller.wait_reply(call_id, 180).header("X-Up-Since") == ""
    callee.reply(arrived, 200)
    assert caller.wait_reply(call_id, 200).header("X-Up-Since") == server.mi("uptime")["Up since"]


@recipe("A timer that publishes statistics")
def test_a_timer(start: Callable[[str], Server], title: str) -> None:
    server = start(title)
    assert {"core:rcv_requests", "sl:sent_replies"} <= set(json.loads(stored(server, "load")))


@recipe("Ask a gateway whether it is there")
def test_health(start: Callable[[str], Server], title: str, phones: Any) -> None:
    server = start(title)
    gateway, _, _ = phones(server)
    server.mi("cache_store", ["local", "gateway", gateway.uri])
    gateway.reply(gateway.wait_request("OPTIONS"), 200)
    assert stored(server, "gateway_state") == "up"

    def full() -> bool:
        gateway.reply(gateway.wait_request("OPTIONS"), 503)
        return stored(server, "gateway_state") == "down: 503"

    wait_until(full, what="it is known to be full")


@recipe("A CANCEL while the message is parked")
def test_a_cancel(start: Callable[[str], Server], title: str, phones: Any) -> None:
    server = start(title)
    caller, callee, _ = phones(server)
    text, call_id = invite(caller, callee)
    caller.wait_reply(call_id, 100)
    caller.cancel(text)
    final = caller.wait_reply(call_id, 487, "INVITE")
    caller.ack(text, final)
    assert final.start == "SIP/2.0 487 Changed His Mind"
    assert stored(server, "given_up") == "bob"
