"""A registrar as user agents see it: REGISTER, look-ups, expiry, restarts with a database, and killed processes."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Server, SipClient, wait_until
from tests.sip_peer import Received

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if (is_method("REGISTER")) {
        if ($rU == "script") {
            if (!save("location", "no-reply")) exit;
            send_reply(200, "Mine");
            exit;
        }
        $avp(attr) = "attr of " + $tU;
        $var(flags) = $hdr(X-Flags);
        if ($var(flags) == NULL) $var(flags) = "";
        save("location", $var(flags));
        exit;
    }
    if ($hdr(X-Remove) != NULL) {
        $var(rc) = remove("location", "sip:$rU@127.0.0.1", $hdr(X-Remove));
        append_to_reply("X-Rc: $var(rc)\\r\\n");
        send_reply(200, "OK");
        exit;
    }
    $var(flags) = $hdr(X-Flags);
    if ($var(flags) == NULL) $var(flags) = "";
    lookup("location", $var(flags));
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Ru: $ru\\r\\n");
    append_to_reply("X-Du: $du\\r\\n");
    append_to_reply("X-Attr: $(avp(attr)[0])\\r\\n");
    append_to_reply("X-Branches: $(branch(uri)[*])\\r\\n");
    if (is_registered("location", "sip:$tU@127.0.0.1")) append_to_reply("X-Registered: yes\\r\\n");
    if (is_contact_registered("location", "sip:$tU@h", "sip:one@192.0.2.1")) append_to_reply("X-One: yes\\r\\n");
    send_reply(200, "OK");
}
"""
HEAD = """
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("registrar", "min_expires", 1)
modparam("registrar", "max_expires", 7200)
modparam("registrar", "retry_after", 30)
modparam("registrar", "attr_avp", "$avp(attr)")
modparam("usrloc", "timer_interval", 1)
"""
FLUSH = """
        mi("ul_flush", $var(answer));
        append_to_reply("X-Flushed: $rc $var(answer)\\r\\n");
        send_reply(200, "OK");
        exit;
"""
ONE, TWO = "<sip:one@192.0.2.1>", "<sip:two@192.0.2.2:5070>"
OPTIONS = ("--udp-workers", "3", "--mi-workers", "1")


@pytest.fixture
def start(start_server) -> Callable[..., Server]:
    return lambda head="", **more: start_server(ROUTES, head=HEAD + head, options=OPTIONS, **more)


class Phone:
    """A user agent that registers: one Call-ID, and a CSeq that counts up."""

    def __init__(self, client: SipClient, user: str) -> None:
        self.client = client
        self.user = user
        self.cseq = 0

    def register(self, *contacts: str, extra: str = "") -> Received:
        self.cseq += 1
        return self.send(self.cseq, *contacts, extra=extra)

    def send(self, cseq: int, *contacts: str, extra: str = "") -> Received:
        call_id = f"{self.user}-{id(self)}"
        self.client.answers.pop(call_id, None)
        _, data = self.client.request(self.user, "REGISTER", call_id=call_id, cseq=cseq, extra=extra)
        data = re.sub(rb"(?m)^Contact: .*\r\n", b"", data)
        lines = "".join([f"Contact: {contact}\r\n" for contact in contacts])
        data = data.replace(b"Content-Length", lines.encode() + b"Content-Length")
        self.client.send(data)
        return self.client.final(call_id, resend=data)


def contacts(answer: Received) -> list[str]:
    """The URIs in a 200's Contact headers."""
    return re.findall(r"(?m)^Contact: <(.*?)>", answer.text)


def expires(answer: Received) -> list[int]:
    return [int(number) for number in re.findall(r"(?m)^Contact: .*;expires=(\d+)", answer.text)]


def test_registering_refreshing_querying_and_leaving(start) -> None:
    server = start()
    phone = Phone(server.client(), "alice")
    assert (phone.register().status, contacts(phone.register())) == (200, [])
    answer = phone.register(f"{ONE};q=0.5", extra="Expires: 600\r\n")
    assert (answer.status, contacts(answer), expires(answer)) == (200, ["sip:one@192.0.2.1"], [600])
    answer = phone.register(f"{TWO};expires=99999")
    assert (contacts(answer), max(expires(answer))) == (["sip:one@192.0.2.1", "sip:two@192.0.2.2:5070"], 7200)
    assert contacts(phone.register(f"{ONE};expires=0")) == ["sip:two@192.0.2.2:5070"]
    late = phone.send(1, f"{TWO};expires=60")
    assert (late.status, late.header("Retry-After")) == (500, "30")
    assert phone.register("*").status == 400
    assert contacts(phone.register()) == ["sip:two@192.0.2.2:5070"]
    assert contacts(phone.register("*", extra="Expires: 0\r\n")) == []
    assert server.statistic("registrar:rejected_regs") == 2
    assert server.statistic("usrloc:registered_users") == 0


def test_lookup_sends_a_request_where_the_user_is(start) -> None:
    server = start()
    client = server.client()
    unknown = client.ask("bob")
    assert (unknown.header("X-Rc"), unknown.header("X-Registered"), unknown.header("X-Ru")) == (
        "-1",
        "",
        f"sip:bob@127.0.0.1:{server.sip_port}",
    )
    phone = Phone(client, "bob")
    phone.register(f"{ONE};q=0.2, {TWO};q=0.8", extra="Allow: OPTIONS\r\n")
    found = client.ask("bob")
    assert (found.header("X-Rc"), found.header("X-Ru"), found.header("X-Branches")) == (
        "1",
        "sip:two@192.0.2.2:5070",
        "sip:one@192.0.2.1",
    )
    assert (found.header("X-Attr"), found.header("X-Registered"), found.header("X-One")) == (
        "attr of bob",
        "yes",
        "yes",
    )
    alone = client.ask("bob", extra="X-Flags: no-branches\r\n")
    assert (alone.header("X-Ru"), alone.header("X-Branches")) == ("sip:two@192.0.2.2:5070", "<null>")
    assert client.ask("bob", "MESSAGE", extra="X-Flags: method-filtering\r\n").header("X-Rc") == "-2"
    assert client.ask("bob", extra="X-Flags: m\r\n").header("X-Rc") == "1"
    assert client.ask("bob", extra="X-Remove: sip:two@192.0.2.2:5070\r\n").header("X-Rc") == "1"
    assert client.ask("bob").header("X-Ru") == "sip:one@192.0.2.1"


def test_a_request_reaches_the_phones_of_a_user(start_server) -> None:
    routes = """
    route {
        if (is_method("REGISTER")) { save("location", "p0"); exit; }
        if (!lookup("location")) { send_reply(404, "Not Found"); exit; }
        t_relay();
    }
    """
    server = start_server(routes, head=HEAD, options=OPTIONS)
    desk, edge = server.client(), server.client()
    phone = Phone(desk, "ivan")
    phone.register(f"<sip:ivan@127.0.0.1:{desk.port};line=1>;q=0.9")
    phone.register("<sip:far@192.0.2.1>", extra=f"Path: <sip:127.0.0.1:{edge.port};lr>\r\n")
    caller = server.client()
    call_id, data = caller.request("ivan", "MESSAGE")
    caller.send(data)
    starts, routes_seen = [], []
    for one in (desk, edge):
        one.socket.settimeout(5)
        request = one.socket.recv(65535).decode()
        starts.append(request.partition("\r\n")[0])
        routes_seen.append(re.findall(r"(?m)^Route: (.*?)\r$", request))
        reply = re.sub(r"^.*?\r\n", f"SIP/2.0 {486 if one is desk else 200} Seen\r\n", request, count=1)
        one.send(re.sub(r"(?m)^(Route|Max-Forwards|Contact): .*\r\n", "", reply).encode())
    assert starts == [f"MESSAGE sip:ivan@127.0.0.1:{desk.port};line=1 SIP/2.0", "MESSAGE sip:far@192.0.2.1 SIP/2.0"]
    assert routes_seen == [[], [f"<sip:127.0.0.1:{edge.port};lr>"]]
    assert caller.final(call_id).status == 200


def test_flags_of_save(start) -> None:
    server = start()
    phone = Phone(server.client(), "carol")
    assert phone.register(ONE, extra="X-Flags: max-contacts=1\r\n").status == 200
    full = phone.register(TWO, extra="X-Flags: c1\r\n")
    assert (full.status, full.header("Retry-After")) == (503, "30")
    assert contacts(phone.register(TWO, extra="X-Flags: c1f\r\n")) == ["sip:two@192.0.2.2:5070"]
    assert expires(phone.register(TWO, extra="X-Flags: E60\r\n")) == [60]
    path = "Path: <sip:192.0.2.9;lr>\r\n"
    strict = phone.register(TWO, extra=f"X-Flags: path-strict\r\n{path}")
    assert (strict.status, strict.header("Unsupported"), strict.header("Path")) == (420, "path", "<sip:192.0.2.9;lr>")
    lazy = phone.register(TWO, extra=f"X-Flags: p1\r\nSupported: path\r\n{path}")
    assert (lazy.status, lazy.header("Path")) == (200, "<sip:192.0.2.9;lr>")
    assert server.client().ask("carol").header("X-Du") == "sip:192.0.2.9;lr"
    mine = Phone(server.client(), "script").register(ONE)
    assert (mine.status, mine.reason, contacts(mine)) == (200, "Mine", [])


def test_contacts_expire_and_are_swept(start) -> None:
    server = start()
    phone = Phone(server.client(), "dave")
    phone.register(f"{ONE};expires=1")
    phone.register(f"{TWO};expires=600")
    assert server.statistic("usrloc:location-contacts") == 2
    wait_until(lambda: server.statistic("usrloc:location-expires") == 1)
    assert server.statistic("usrloc:location-contacts") == 1
    assert contacts(phone.register()) == ["sip:two@192.0.2.2:5070"]


def test_a_killed_process_loses_no_contact(start) -> None:
    server = start()
    client = server.client()
    phones = [Phone(client, f"user{n}") for n in range(20)]
    for phone in phones:
        phone.register(ONE)
    before = server.pids("SIP")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    server.wait_replaced(before)
    assert [contacts(phone.register()) for phone in phones] == [["sip:one@192.0.2.1"]] * 20


def test_management(start) -> None:
    server = start()
    phone = Phone(server.client(), "erin")
    phone.register(f"{ONE};q=0.5;expires=600", extra="User-Agent: phone/1\r\n")
    (domain,) = server.mi("ul_dump")["Domains"]
    (aor,) = domain["AORs"]
    (contact,) = aor["Contacts"]
    assert (domain["name"], aor["AOR"], contact["Contact"]) == ("location", "erin", "sip:one@192.0.2.1")
    assert (contact["Q"], contact["User-agent"], contact["State"]) == ("0.5", "phone/1", "CS_NEW")
    assert contact["Socket"] == f"udp:127.0.0.1:{server.sip_port}"
    assert contact["Attr"] == "attr of erin"
    add = {"table_name": "location", "aor": "erin", "contact": "sip:mi@h", "expires": 0, "q": "1.0"}
    assert server.mi("ul_add", {**add, "flags": 0, "cflags": "", "methods": 32767}) == "OK"
    shown = server.mi("ul_show_contact", {"table_name": "location", "aor": "erin"})
    assert [one["Expires"] == "permanent" for one in shown["Contacts"]] == [False, True]
    gone = {"table_name": "location", "aor": "erin", "contact": "sip:one@192.0.2.1"}
    assert server.mi("ul_rm_contact", gone) == "OK"
    assert server.mi_error("ul_rm_contact", gone)["message"] == "Contact not found"
    assert contacts(phone.register()) == ["sip:mi@h"]
    assert server.mi("ul_rm", {"table_name": "location", "aor": "erin"}) == "OK"
    assert server.mi_error("ul_rm", {"table_name": "nowhere", "aor": "erin"})["message"] == "Table not found"
    assert server.mi("ul_dump", ["brief"])["Domains"][0]["AORs"] == []
    assert server.mi_error("ul_flush")["message"] == "Cannot flush in no-db mode"


# With a database.


def database(tmp: Path, mode: int) -> str:
    return f'modparam("usrloc", "db_url", "sqlite:{tmp}/ul.db")\nmodparam("usrloc", "db_mode", {mode})\n'


def rows(tmp: Path) -> list[str]:
    with sqlite3.connect(tmp / "ul.db") as connection:
        found = [f"{user} {contact}" for user, contact in connection.execute("SELECT username, contact FROM location")]
    connection.close()
    return sorted(found)


@pytest.mark.parametrize("mode", [1, 2])
def test_a_restart_keeps_the_contacts(start, tmp: Path, mode: int) -> None:
    head = database(tmp, mode) + 'modparam("usrloc", "timer_interval", 3600)\n'
    server = start(head)
    phone = Phone(server.client(), "frank")
    ends = time.time() + 3.1
    phone.register(ONE, f"{TWO};expires=3")
    if mode == 1:  # a busy database is not waited for longer than half a second
        wait_until(lambda: rows(tmp) == ["frank sip:one@192.0.2.1", "frank sip:two@192.0.2.2:5070"])
    else:
        assert rows(tmp) == []
    assert server.stop() == 0
    assert rows(tmp)[0] == "frank sip:one@192.0.2.1"
    wait_until(lambda: time.time() > ends)
    again = start(head)
    phone.client = again.client()
    assert contacts(phone.register()) == ["sip:one@192.0.2.1"]
    assert phone.send(1, ONE).status == 200  # the same Call-ID and CSeq as before: a retransmission
    assert phone.send(0, ONE).status == 500
    assert rows(tmp) == ["frank sip:one@192.0.2.1"]
    phone.register("*", extra="Expires: 0\r\n")
    assert again.stop() == 0
    assert rows(tmp) == []


def test_what_was_answered_is_in_the_database_though_everything_is_killed(start, tmp: Path) -> None:
    server = start(database(tmp, 1))
    client = server.client()
    for number in range(30):
        assert Phone(client, f"user{number:02}").register(ONE).status == 200
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(5)
    assert rows(tmp) == [f"user{number:02} sip:one@192.0.2.1" for number in range(30)]
    assert "INSERT" not in server.log()  # what SQLAlchemy would log of it


def test_write_back_writes_by_its_timer_and_on_demand(start, tmp: Path) -> None:
    server = start(database(tmp, 2) + 'modparam("usrloc", "timer_interval", 3600)\n')
    phone = Phone(server.client(), "grace")
    phone.register(ONE)
    assert rows(tmp) == []
    assert server.mi("ul_show_contact", ["location", "grace"])["Contacts"][0]["State"] == "CS_DIRTY"
    assert server.mi("ul_flush") == "OK"
    assert rows(tmp) == ["grace sip:one@192.0.2.1"]
    assert server.mi("ul_show_contact", ["location", "grace"])["Contacts"][0]["State"] == "CS_SYNC"
    phone.register(f"{ONE};expires=600")
    phone.register(TWO, extra="X-Flags: memory-only\r\n")
    assert server.mi("ul_sync", ["location"]) == "OK"
    assert server.mi("ul_show_contact", ["location", "grace"])["Contacts"][0]["State"] == "CS_SYNC"
    assert rows(tmp) == ["grace sip:one@192.0.2.1"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_flush_says_what_the_database_says(start_server, tmp: Path, workers: int) -> None:
    head = HEAD + database(tmp, 2) + 'modparam("usrloc", "timer_interval", 3600)\nloadmodule "mi_script.so"\n'
    routes = ROUTES.replace("route {", 'route {\n    if (is_method("INFO")) {\n' + FLUSH + "    }", 1)
    options = ("--udp-workers", "1", "--mi-workers", str(workers))
    server = start_server(routes, head=head, options=options)
    client = server.client()
    Phone(client, "olivia").register(ONE)
    with sqlite3.connect(tmp / "ul.db", isolation_level=None) as admin:
        admin.execute("ALTER TABLE location RENAME TO away")
        refusal = server.mi_error("ul_flush")
        assert (refusal["code"], refusal["message"]) == (500, "Bindings are not in the database")
        assert "no such table" in refusal["data"]
        assert server.mi_error("ul_sync", ["location", "olivia"])["code"] == 500
        assert client.ask("olivia", method="INFO").header("X-Flushed") == "-500 Bindings are not in the database"
        admin.execute("ALTER TABLE away RENAME TO location")
    admin.close()
    assert rows(tmp) == []
    assert client.ask("olivia", method="INFO").header("X-Flushed") == '1 "OK"'
    assert rows(tmp) == ["olivia sip:one@192.0.2.1"]


def test_a_killed_recorder_loses_nothing(start, tmp: Path) -> None:
    server = start(database(tmp, 1))
    client = server.client()
    for number in range(10):
        Phone(client, f"user{number}").register(ONE)
        if number == 4:
            (mi,) = server.pids("MI")[-1:]
            os.kill(server.pids("MI worker")[0], signal.SIGKILL)
            os.kill(mi, signal.SIGKILL)
    wait_until(lambda: len(rows(tmp)) == 10)


def test_a_database_that_does_not_answer_holds_up_nobody(start, tmp: Path) -> None:
    server = start(database(tmp, 1))
    client = server.client()
    Phone(client, "early").register(ONE)
    wait_until(lambda: rows(tmp) == ["early sip:one@192.0.2.1"])
    late = server.statistic("usrloc:late_commits")  # the first may have been, where the machine is busy
    with sqlite3.connect(tmp / "ul.db", isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert Phone(client, "heidi").register(ONE).status == 200
        assert time.monotonic() - started < 4  # who waited for the database would wait until it is unlocked
        assert client.ask("heidi").header("X-Rc") == "1"
        assert server.statistic("usrloc:late_commits") == late + 1
        lock.execute("ROLLBACK")
    lock.close()
    wait_until(lambda: rows(tmp) == ["early sip:one@192.0.2.1", "heidi sip:one@192.0.2.1"])
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ('modparam("usrloc", "db_mode", 3)\n', "db_mode 3 is not offered"),
        ('modparam("usrloc", "db_mode", 1)\n', "no database"),
        ('modparam("usrloc", "db_mode", 1)\nmodparam("usrloc", "db_url", "oracle://u:secret@h/d")\n', "not known"),
        ('modparam("usrloc", "db_mode", 1)\ndb_default_url="sqlite:/no/such/folder/x.db"\n', "unable to open"),
        ('modparam("usrloc", "working_mode_preset", "full-sharing-cluster")\n', "not offered"),
        ('modparam("registrar", "received_avp", "rcv")\n', "is no AVP"),
    ],
)
def test_settings_that_cannot_be_served(start, head: str, said: str) -> None:
    server = start(head, ready=False)
    assert server.wait() != 0
    assert said in server.log()
    assert "secret" not in server.log()
