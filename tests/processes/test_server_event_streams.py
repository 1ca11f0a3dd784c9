"""Events of a real server on their way to programs that listen over TCP, alone or several as one."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.harness import LIMIT_S, Server, free_port, wait_until
from tests.processes.listeners import Subscriber

pytestmark = pytest.mark.processes

ONE, TWO = (("--udp-workers", number, "--mi-workers", "1") for number in "12")
"""SIP processes. The events of one come in their order."""
ROUTES = """
loadmodule "event_datagram.so"
loadmodule "event_stream.so"
loadmodule "event_virtual.so"
route {
    if ($rU == "many") {
        $var(n) = 0;
        while ($var(n) < 200) { $avp(n) = "number"; $avp(v) = $var(n); raise_event("E_MANY", $avp(n), $avp(v));
            $avp(n) := NULL; $avp(v) := NULL; $var(n) = $var(n) + 1; }
    } else {
        $avp(n) = "user"; $avp(v) = $rU;
        raise_event("E_CALL", $avp(n), $avp(v));
        raise_event("E_BARE");
    }
    sl_send_reply(200, "OK");
}
"""


@pytest.fixture
def subscribers() -> Iterator[list[Subscriber]]:
    found: list[Subscriber] = []
    yield found
    for one in found:
        one.goes()


@pytest.fixture
def subscriber(subscribers: list[Subscriber]) -> Subscriber:
    subscribers.append(Subscriber())
    return subscribers[0]


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, options=ONE)


@pytest.fixture(scope="module")
def strict(start_shared: Callable[..., Server]) -> Server:
    head = """
    modparam("event_stream", "reliable_mode", 1)
    modparam("event_stream", "timeout", 5000)
    modparam("event_stream", "event_param", "opensips_event")
    modparam("event_virtual", "failover_timeout", 60)
    """
    return start_shared(ROUTES.replace("route {", head + "route {", 1), options=TWO)


Subscribe = Callable[[Server, str, str], None]


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    """Subscribes until the test is over."""
    done: list[tuple[Server, str, str]] = []

    def subscribe(server: Server, event: str, socket: str) -> None:
        assert server.mi("event_subscribe", [event, socket]) == "OK"
        done.append((server, event, socket))

    yield subscribe
    for server, event, name in done:
        if server.process.poll() is None:
            assert server.mi("event_subscribe", [event, name, 0]) == "OK"


class Figures:
    """What has become of a server's events since it was asked first."""

    def __init__(self, server: Server, module: str = "event_stream") -> None:
        self.server, self.module = server, module
        self.before = self._now()

    def _now(self) -> tuple[int, int]:
        found = self.server.mi("get_statistics", [[f"{self.module}:"]])
        return found[f"{self.module}:sent_events"], found[f"{self.module}:lost_events"]

    def lost(self) -> int:
        return self._now()[1] - self.before[1]

    def sent_and_lost(self, total: int) -> tuple[int, int]:
        """When so many have come to an end."""

        def ended() -> tuple[int, int] | None:
            now = self._now()
            found = now[0] - self.before[0], now[1] - self.before[1]
            return found if sum(found) >= total else None

        found: tuple[int, int] = wait_until(ended, what=f"{total} events have come to an end")
        assert self.server.statistic("event_stream:queued_events") == 0
        return found


def test_a_subscriber_is_sent_json_rpc_over_one_connection(
    server: Server,
    subscriber: Subscriber,
    subscribe: Subscribe,
) -> None:
    figures = Figures(server)
    subscribe(server, "E_CALL", subscriber.name)
    subscribe(server, "E_BARE", f"{subscriber.name}/told")

    server.client().ask("alice")
    assert subscriber.hears(2) == [
        {"jsonrpc": "2.0", "method": "E_CALL", "params": {"user": "alice"}},
        {"jsonrpc": "2.0", "method": "told"},
    ]

    assert server.mi("raise_event", ["E_CALL", ["café", "7"]]) == "OK"
    assert subscriber.hears(3)[2] == {"jsonrpc": "2.0", "method": "E_CALL", "params": ["café", "7"]}
    assert figures.sent_and_lost(3) == (3, 0)


def test_the_events_of_one_process_come_in_their_order(
    server: Server,
    subscriber: Subscriber,
    subscribe: Subscribe,
) -> None:
    subscribe(server, "E_MANY", subscriber.name)

    server.client().ask("many")

    assert [told["params"]["number"] for told in subscriber.hears(200)] == list(range(200))


def test_events_wait_for_a_subscriber_that_is_away_for_a_moment(
    server: Server,
    subscriber: Subscriber,
    subscribers: list[Subscriber],
    subscribe: Subscribe,
) -> None:
    figures = Figures(server)
    subscribe(server, "E_CALL", subscriber.name)
    server.client().ask("first")
    subscriber.hears(1)
    subscriber.leaves()

    for name in ("second", "third"):
        server.client().ask(name)
    back = Subscriber(subscriber.port)
    subscribers.append(back)

    assert [told["params"]["user"] for told in back.hears(2)] == ["second", "third"]
    assert figures.sent_and_lost(3) == (3, 0)


def test_more_than_may_wait_is_lost_and_counted(
    server: Server,
    subscribers: list[Subscriber],
    subscribe: Subscribe,
) -> None:
    port = free_port(socket.SOCK_STREAM)
    figures = Figures(server)
    subscribe(server, "E_MANY", f"tcp:127.0.0.1:{port}")
    missed, client = server.statistic("evi:lost_events"), server.client()
    for _ in range(60):
        client.ask("many")

    def handed() -> int:
        """How many came as far as the process that sends; the others were too many for its inbox."""
        return 12_000 - (server.statistic("evi:lost_events") - missed)

    wait_until(lambda: figures.lost() == handed() - 10_000, what="what is too much is lost")
    assert server.statistic("event_stream:queued_events") == 10_000
    back = Subscriber(port)
    subscribers.append(back)

    assert len(back.hears(10_000)) == 10_000
    assert figures.sent_and_lost(handed()) == (10_000, handed() - 10_000)


def test_one_that_answers_is_known_to_have_each_event(
    strict: Server,
    subscribers: list[Subscriber],
    subscribe: Subscribe,
) -> None:
    good, bad = Subscriber(answers='{"jsonrpc":"2.0","result":1,"id":ID}'), Subscriber(answers='{"error":{},"id":ID}')
    subscribers += [good, bad]
    figures = Figures(strict)
    for one in (good, bad):
        subscribe(strict, "E_CALL", one.name)

    strict.client().ask("alice")

    (told,) = good.hears()
    assert told.pop("id") >= 1
    assert told == {"jsonrpc": "2.0", "method": "E_CALL", "params": {"opensips_event": "E_CALL", "user": "alice"}}
    bad.hears()
    assert figures.sent_and_lost(2) == (1, 1)


def test_what_is_raised_is_answered_or_lost_also_where_the_subscriber_is_killed(
    strict: Server,
    subscribers: list[Subscriber],
    subscribe: Subscribe,
) -> None:
    answer = '{"jsonrpc":"2.0","result":1,"id":ID}'
    first = Subscriber(answers=answer)
    subscribers.append(first)
    figures = Figures(strict)
    subscribe(strict, "E_MANY", first.name)
    client = strict.client()
    client.ask("many")
    first.hears(30)
    first.goes()
    client.ask("many")
    second = Subscriber(first.port, answers=answer)
    subscribers.append(second)
    wait_until(lambda: second._take() or sum(figures._now()) - sum(figures.before) >= 400, what="all have ended")

    sent, lost = figures.sent_and_lost(400)
    heard = [told["params"]["number"] for told in (*first.told, *second.told)]
    assert sent + lost == 400
    assert sent <= len(heard) <= 400
    assert len(heard) - sent <= 64  # what was on its way to the first when it went, or whose answer was
    assert len({told["id"] for told in (*first.told, *second.told)}) == len(heard)


def test_a_subscriber_that_talks_nonsense_fails_nobody(
    strict: Server,
    subscribers: list[Subscriber],
    subscribe: Subscribe,
) -> None:
    odd = Subscriber(answers="HTTP/1.1 400 What?\r\n\r\n")
    subscribers.append(odd)
    figures = Figures(strict)
    subscribe(strict, "E_CALL", odd.name)

    strict.client().ask("alice")

    odd.hears()
    assert figures.sent_and_lost(1) == (0, 1)
    assert strict.mi("uptime")


class TestSeveralAsOne:
    def test_in_parallel_each_is_told(
        self,
        server: Server,
        subscribers: list[Subscriber],
        subscribe: Subscribe,
    ) -> None:
        subscribers += [Subscriber(), Subscriber()]
        figures = Figures(server, "event_virtual")
        subscribe(server, "E_CALL", f"virtual:PARALLEL {subscribers[0].name} {subscribers[1].name}")

        server.client().ask("alice")

        assert subscribers[0].hears() == subscribers[1].hears()
        assert figures.sent_and_lost(1) == (1, 0)

    def test_by_turns_each_is_told_of_another_event(
        self,
        server: Server,
        subscribers: list[Subscriber],
        subscribe: Subscribe,
    ) -> None:
        subscribers += [Subscriber(), Subscriber()]
        subscribe(server, "E_MANY", f"virtual:ROUND-ROBIN {subscribers[0].name} {subscribers[1].name}")

        server.client().ask("many")

        for at, one in enumerate(subscribers):
            assert [told["params"]["number"] for told in one.hears(100)] == list(range(at, 200, 2))

    def test_the_next_is_told_where_the_first_is_away_and_the_first_rests_then(
        self,
        strict: Server,
        subscribers: list[Subscriber],
        subscribe: Subscribe,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.settimeout(LIMIT_S)
            away, udp = free_port(socket.SOCK_STREAM), f"udp:127.0.0.1:{listener.getsockname()[1]}"
            figures = Figures(strict, "event_virtual")
            subscribe(strict, "E_CALL", f"virtual:FAILOVER tcp:127.0.0.1:{away} {udp}")

            strict.client().ask("first")
            assert json.loads(listener.recv(65536))["params"] == {"user": "first"}
            subscribers.append(Subscriber(away, answers='{"result":1,"id":ID}'))
            strict.client().ask("second")
            assert json.loads(listener.recv(65536))["params"] == {"user": "second"}

            assert figures.sent_and_lost(2) == (2, 0)

    def test_what_nobody_is_there_for_is_lost(
        self,
        server: Server,
        subscribe: Subscribe,
    ) -> None:
        away = free_port(socket.SOCK_STREAM)
        figures = Figures(server, "event_virtual")
        subscribe(server, "E_CALL", f"virtual:FAILOVER tcp:127.0.0.1:{away} tcp:127.0.0.1:{away}")

        server.client().ask("alice")

        assert figures.sent_and_lost(1) == (0, 1)


@pytest.mark.parametrize(
    "socket",
    [
        "tcp:127.0.0.1",
        "tcp:127.0.0.1:0",
        "tcp:127.0.0.1:65536",
        "tcp:[::1:80",
        "tcp:[1.2.3.4]:80",
        "tcp:a b:80",
        "tcp:127.0.0.1:80/a b",
        "virtual:PARALLEL",
        "virtual:FALLOVER udp:127.0.0.1:1",
        "virtual:PARALLEL udp:127.0.0.1:1 http://x",
        "virtual:PARALLEL virtual:PARALLEL udp:127.0.0.1:1",
        "virtual:PARALLEL " + " ".join(f"udp:127.0.0.1:{port}" for port in range(1, 20)),
    ],
)
def test_what_is_no_socket_is_refused(server: Server, socket: str) -> None:
    error = server.mi_error("event_subscribe", ["E_CALL", socket])

    assert (error["code"], error["message"]) == (400, "Bad parameter value")


def test_a_shutdown_waits_for_what_is_on_its_way_and_for_nobody_who_is_away(
    start_server: Callable[..., Server],
    subscriber: Subscriber,
    subscribe: Subscribe,
) -> None:
    server = start_server(ROUTES, options=(*ONE, "--drain", "60"))
    subscribe(server, "E_CALL", f"tcp:127.0.0.1:{free_port(socket.SOCK_STREAM)}")
    subscribe(server, "E_BARE", subscriber.name)
    server.client().ask("alice")
    subscriber.hears()

    assert server.stop() == 0, "in less than the time for draining"
    assert "1 events for subscribers are lost" in server.log()


class TestWhereTheProcessThatSendsIsNotThere:
    def sender(self, server: Server) -> int:
        (found,) = set(server.pids("MI")) - set(server.pids("MI worker"))
        return found

    def test_who_raises_waits_for_nobody_and_what_is_too_much_is_counted(
        self,
        server: Server,
        subscriber: Subscriber,
        subscribe: Subscribe,
    ) -> None:
        subscribe(server, "E_MANY", subscriber.name)
        sender, client, figures = self.sender(server), server.client(), Figures(server)
        lost = server.statistic("evi:lost_events")

        os.kill(sender, signal.SIGSTOP)
        try:
            for _ in range(52):
                client.ask("many")
        finally:
            os.kill(sender, signal.SIGCONT)

        told = subscriber.hears(10_000)
        assert [one["params"]["number"] for one in told] == list(range(200)) * 50
        assert server.statistic("evi:lost_events") - lost == 400
        assert figures.sent_and_lost(10_000) == (10_000, 0)
        client.ask("many")
        assert len(subscriber.hears(10_200)) == 10_200

    def test_what_is_raised_arrives_or_is_counted_though_the_sender_is_killed(
        self,
        server: Server,
        subscribers: list[Subscriber],
        subscribe: Subscribe,
    ) -> None:
        port = free_port(socket.SOCK_STREAM)
        subscribe(server, "E_MANY", f"tcp:127.0.0.1:{port}")
        sender, client = self.sender(server), server.client()
        names = [["event_stream:sent_events", "event_stream:lost_events", "evi:lost_events"]]
        before = server.mi("get_statistics", names)
        client.ask("many")
        wait_until(lambda: server.statistic("event_stream:queued_events") == 200, what="they wait for the subscriber")

        os.kill(sender, signal.SIGKILL)
        client.ask("many")
        subscribers.append(Subscriber(port))
        wait_until(server.answers, what="the sender is replaced")
        client.ask("many")

        def ended() -> dict[str, int] | None:
            now = server.mi("get_statistics", names)
            found = {name.partition(":")[2] + name[:4]: now[name] - before[name] for name in names[0]}
            return found if subscribers[0]._take() or sum(found.values()) == 600 else None

        found = wait_until(ended, what="all have arrived or are counted as lost")
        assert found["lost_eventseven"] == 200, "what the one that was killed had"
        sent = found["sent_eventseven"]
        assert len(subscribers[0].hears(sent)) == sent
        # Who raises may come to know of the replacement later than whoever asks it over HTTP.
        wait_until(lambda: client.ask("many") and subscribers[0].hears(sent)[sent:], what="they arrive again")
