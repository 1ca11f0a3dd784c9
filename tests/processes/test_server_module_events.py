"""What the modules of a real server tell of by themselves: each thing once, whichever process sees it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness import LIMIT_S, Server, free_port, wait_until
from tests.processes.dialog_calls import Call
from tests.processes.listeners import Listener
from tests.sip_peer import Peer

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "event_datagram.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "dialog.so"
modparam("registrar", "min_expires", 1)
modparam("usrloc", "timer_interval", 1)
"""
ROUTES = """
route {
    if (is_method("REGISTER")) { save("location"); exit; }
    if ($rU == "late") { async(mi("bench_wait 5000"), late, 1); exit; }
    if ($rU == "busy") { async(mi("bench_sleep 300"), late); exit; }
    if (has_totag()) { match_dialog(); t_relay(); exit; }
    if (is_method("INVITE")) {
        create_dialog();
        if ($rU == "short") $DLG_timeout = 1;
        $du = "sip:127.0.0.1:" + $hdr(X-To);
    }
    t_relay();
}
route[late] { t_reply(408, "$rc"); }
"""
EARLY, ANSWERED, CONFIRMED, DELETED = 2, 3, 4, 5


@pytest.fixture(scope="module")
def tcp_port() -> int:
    return free_port(socket.SOCK_STREAM)


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server], tcp_port: int) -> Server:
    workers = ("--udp-workers", "2", "--mi-workers", "1", "--mi-workers-max", "2")
    return start_shared(ROUTES, head=HEAD, options=(*workers, "-l", f"tcp:127.0.0.1:{tcp_port}"))


@pytest.fixture
def listen(server: Server) -> Iterator[Callable[..., Listener]]:
    """`listen(event, …)` gives who hears of these events."""
    heard: list[tuple[str, str]] = []
    listeners: list[Listener] = []

    def listen(*events: str) -> Listener:
        listeners.append(Listener())
        for event in events:
            heard.append((event, listeners[-1].name))
            assert server.mi("event_subscribe", list(heard[-1])) == "OK"
        return listeners[-1]

    yield listen
    for event, name in heard:
        server.mi("event_subscribe", [event, name, 0])
    for one in listeners:
        one.socket.close()


def hears(listener: Listener, count: int) -> list[tuple[str, dict[str, Any]]]:
    told = [listener.hears() for _ in range(count)]
    return [(one["method"], one["params"]) for one in told]


class TestBindings:
    EVENTS = ("E_UL_AOR_INSERT", "E_UL_CONTACT_INSERT", "E_UL_CONTACT_UPDATE", "E_UL_CONTACT_DELETE", "E_UL_AOR_DELETE")

    def register(self, server: Server, user: str, *contacts: str, cseq: int = 1, expires: int = 600) -> None:
        lines = "".join(f"Contact: <{contact}>\r\n" for contact in contacts)
        client = server.clients[0] if server.clients else server.client()
        extra = f"{lines}Expires: {expires}\r\nUser-Agent: phone\r\n"
        _, data = client.request(user, "REGISTER", call_id=f"reg-{user}", branch=f"z9hG4bK{user}{cseq}", cseq=cseq)
        text = data.decode().replace(f"Contact: <sip:tester@127.0.0.1:{client.port}>\r\n", extra)
        client.answers.pop(f"reg-{user}", None)
        client.send(text.encode())
        assert client.final(f"reg-{user}", resend=text.encode()).status == 200

    def test_a_user_comes_stays_and_goes(self, server: Server, listen: Callable[..., Listener]) -> None:
        listener = listen(*self.EVENTS)
        user = {"domain": "location", "aor": "ann"}

        self.register(server, "ann", "sip:ann@192.0.2.1")
        came, bound = hears(listener, 2)
        self.register(server, "ann", "sip:ann@192.0.2.1", "sip:ann@192.0.2.2", cseq=2)
        told = hears(listener, 2)
        self.register(server, "ann", "sip:ann@192.0.2.1", "sip:ann@192.0.2.2", cseq=3, expires=0)
        ended = hears(listener, 3)

        assert came == ("E_UL_AOR_INSERT", user)
        expires = bound[1].pop("expires")
        assert bound == (
            "E_UL_CONTACT_INSERT",
            {
                **user,
                "uri": "sip:ann@192.0.2.1",
                "received": "",
                "path": "",
                "qval": -1,
                "user_agent": "phone",
                "socket": f"udp:127.0.0.1:{server.sip_port}",
                "bflags": "",
                "callid": "reg-ann",
                "cseq": 1,
                "attr": "",
                "latency": 0,
                "shtag": "",
            },
        )
        assert [(name, params["uri"], params["cseq"]) for name, params in told] == [
            ("E_UL_CONTACT_UPDATE", "sip:ann@192.0.2.1", 2),
            ("E_UL_CONTACT_INSERT", "sip:ann@192.0.2.2", 2),
        ]
        assert told[0][1]["expires"] >= expires
        assert [name for name, _ in ended] == ["E_UL_CONTACT_DELETE", "E_UL_CONTACT_DELETE", "E_UL_AOR_DELETE"]
        assert ended[2] == ("E_UL_AOR_DELETE", user)

    def test_who_runs_out_of_time_is_told_of_once(self, server: Server, listen: Callable[..., Listener]) -> None:
        listener = listen("E_UL_CONTACT_DELETE", "E_UL_AOR_DELETE")

        self.register(server, "bob", "sip:bob@192.0.2.1", expires=1)
        self.register(server, "cat", "sip:cat@192.0.2.1", expires=1)

        told = hears(listener, 4)
        assert sorted((name, params["aor"]) for name, params in told) == [
            ("E_UL_AOR_DELETE", "bob"),
            ("E_UL_AOR_DELETE", "cat"),
            ("E_UL_CONTACT_DELETE", "bob"),
            ("E_UL_CONTACT_DELETE", "cat"),
        ]
        assert server.mi("raise_event", ["E_UL_AOR_DELETE", ["last"]]) == "OK"
        assert listener.hears()["params"] == ["last"]

    def test_what_mi_does_is_told_of_too(self, server: Server, listen: Callable[..., Listener]) -> None:
        listener = listen(*self.EVENTS)

        server.mi("ul_add", ["location", "dan", "sip:dan@192.0.2.1", 600, "0.5", 0, "", 0])
        server.mi("ul_rm", ["location", "dan"])

        told = hears(listener, 4)
        assert [name for name, _ in told] == [
            "E_UL_AOR_INSERT",
            "E_UL_CONTACT_INSERT",
            "E_UL_CONTACT_DELETE",
            "E_UL_AOR_DELETE",
        ]
        assert told[1][1]["qval"] == 500


class TestDialogs:
    @pytest.fixture
    def call(self, server: Server) -> Iterator[Call]:
        phones = Peer(server.sip_port), Peer(server.sip_port)
        yield Call(*phones)
        for phone in phones:
            phone.close()

    def states(self, listener: Listener, count: int) -> list[tuple[int, int]]:
        return [(params["old_state"], params["new_state"]) for _, params in hears(listener, count)]

    def test_each_state_of_a_call_is_told(self, server: Server, listen: Callable[..., Listener], call: Call) -> None:
        listener = listen("E_DLG_STATE_CHANGED")

        call.establish()
        (shown,) = server.mi("dlg_list")["Dialogs"]
        call.exchange("BYE")

        told = hears(listener, 4)
        assert [(params["old_state"], params["new_state"]) for _, params in told] == [
            (1, EARLY),
            (EARLY, ANSWERED),
            (ANSWERED, CONFIRMED),
            (CONFIRMED, DELETED),
        ]
        last = told[3][1]
        assert (last["id"], last["db_id"], last["callid"]) == (shown["ID"], shown["db_id"], call.call_id)
        assert (last["from_tag"], last["to_tag"]) == (shown["caller_tag"], shown["CALLEES"][0]["callee_tag"])

    def test_a_call_whose_time_is_over_ends_once(
        self, server: Server, listen: Callable[..., Listener], call: Call
    ) -> None:
        listener = listen("E_DLG_STATE_CHANGED")

        call.establish("short")

        assert self.states(listener, 4)[3] == (CONFIRMED, DELETED)
        assert server.mi("raise_event", ["E_DLG_STATE_CHANGED", ["last"]]) == "OK"
        assert listener.hears()["params"] == ["last"]

    def test_a_call_whose_process_dies_before_it_is_answered_ends_once(
        self, server: Server, listen: Callable[..., Listener], call: Call
    ) -> None:
        call.ring()
        call.callee.reply(call.arrived, 180)
        call.caller.wait_reply(call.call_id, 180)
        listener = listen("E_DLG_STATE_CHANGED")
        before = server.pids("SIP")
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        assert self.states(listener, 1) == [(EARLY, DELETED)]
        server.wait_replaced(before)
        assert server.mi("raise_event", ["E_DLG_STATE_CHANGED", ["last"]]) == "OK"
        assert listener.hears()["params"] == ["last"]


class TestProcessesAndJobs:
    def test_a_job_that_nobody_waits_for_any_more(self, server: Server, listen: Callable[..., Listener]) -> None:
        listener = listen("E_JOB_TIMEOUT")

        assert server.client().ask("late", "MESSAGE").reason == "-408"

        ((name, told),) = hears(listener, 1)
        assert name == "E_JOB_TIMEOUT"
        assert told.pop("id").startswith(told["asked_by"] + ".")
        assert told.pop("asked_by").startswith("sip-")
        assert told == {"command": "bench_wait", "seconds": 1}

    def test_a_connection_that_ends(self, listen: Callable[..., Listener], tcp_port: int) -> None:
        listener = listen("E_CORE_TCP_DISCONNECT")

        with socket.create_connection(("127.0.0.1", tcp_port), LIMIT_S) as phone:
            ours = phone.getsockname()
            phone.sendall(b"\r\n\r\n")
            assert phone.recv(10) == b"\r\n"

        told = {"src_ip": ours[0], "src_port": ours[1], "dst_ip": "127.0.0.1", "dst_port": tcp_port}
        assert hears(listener, 1) == [("E_CORE_TCP_DISCONNECT", {**told, "proto": "tcp"})]

    def test_a_worker_that_comes_because_jobs_wait_and_goes_again(
        self, server: Server, listen: Callable[..., Listener]
    ) -> None:
        # A test before may have had a second one start.
        wait_until(lambda: len(server.pids("MI worker")) == 1, limit_s=30.0, what="one worker only")
        listener = listen("E_CORE_PROC_AUTO_SCALE")

        client = server.client()
        for _ in range(4):
            client.send(client.request("busy", "MESSAGE")[1])

        ((_, told),) = hears(listener, 1)
        pid = told.pop("pid")
        assert pid in server.pids("MI worker")
        assert told.pop("group_load") > 0
        assert told == {"group_type": "MI", "group_filter": "", "scale": "up", "process_id": 4}

    def test_a_worker_that_dies_and_the_mi_process_itself(
        self, server: Server, listen: Callable[..., Listener]
    ) -> None:
        listener = listen("E_WORKER_LOST")
        worker, *others = server.pids("MI worker")
        (speaker,) = set(server.pids("MI")) - {worker, *others}

        os.kill(worker, signal.SIGKILL)
        told = hears(listener, 1)
        os.kill(speaker, signal.SIGKILL)
        told += hears(listener, 1)

        assert told == [
            ("E_WORKER_LOST", {"process": "worker-1.1", "pid": worker, "reason": "killed by SIGKILL"}),
            ("E_WORKER_LOST", {"process": "mi-1.1", "pid": None, "reason": ""}),
        ]
        wait_until(lambda: answers_again(server), what="MI is back")


def answers_again(server: Server) -> bool:
    try:
        return bool(server.mi("uptime"))
    except OSError:
        return False
