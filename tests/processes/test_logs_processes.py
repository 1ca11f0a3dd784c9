"""The log of many processes: what happens to it when they are killed, when nobody reads it, and what a line holds."""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.log_levels import LOWEST
from runtime.log_pipe import FRAME_BYTES, RecordPipe, _pack
from runtime.log_sinks import escape
from runtime.logs import NOTICE, Levels, from_python, to_python

ROOT = Path(__file__).parents[2]
LIMIT_S = 20.0

PREAMBLE = """
import logging, os, signal, sys, time
from runtime import logs as layby_logs
log = logging.getLogger("layby.test")  # made before anything is configured, as modules do

def fork(name, main, slot=None):
    pid = os.fork()
    if pid:
        return pid
    try:
        logs.in_child(name, slot)
        main()
    finally:
        os._exit(0)
"""

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}) ([\w-]+)\[(\d+)\] ([A-Z]+) (.*)")


def run(tmp_path: Path, body: str, *, check: bool = True) -> list[str]:
    """Run a script to its end; the lines that it logged."""
    script, errors = tmp_path / "script.py", tmp_path / "stderr"
    script.write_text(PREAMBLE + body)
    with errors.open("wb") as stream:
        subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", script],
            stderr=stream,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=LIMIT_S,
            check=check,
        )
    return errors.read_text().splitlines()


def parse(lines: list[str]) -> list[tuple[str, int, str, str]]:
    """Process, pid, level and text of every line; every line is a whole one."""
    matches = [LINE.fullmatch(line) for line in lines]
    torn = [line for line, match in zip(lines, matches, strict=True) if match is None]
    assert torn == []
    return [(match[2], int(match[3]), match[4], match[5]) for match in matches if match]


@pytest.mark.processes
def test_processes_killed_while_they_log_silence_nobody_and_tear_nothing(tmp_path):
    lines = run(
        tmp_path,
        """
logs = layby_logs.configure(4, True, False, "")

def victim():
    serial = 0
    while True:
        serial += 1
        log.info("%d %s end", serial, "v" * (serial * 37 % 3000))

def survivor():
    serial = 0
    while not os.path.exists(sys.argv[0] + ".stop"):
        serial += 1
        log.info("%d %s end", serial, "s" * (serial * 53 % 2000))
        time.sleep(0.002)
    log.info("last of %d", serial)

survivors = [fork(f"survivor-{n}", survivor) for n in (1, 2)]
victims = [fork(f"victim-{n}", victim) for n in (1, 2, 3)]
killed, until = 0, time.monotonic() + 1.5
while time.monotonic() < until:
    time.sleep(0.003)
    pid = victims.pop(0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    logs.child_died(pid)
    killed += 1
    victims.append(fork("victim-9", victim))
for pid in victims:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
open(sys.argv[0] + ".stop", "w").close()
for pid in survivors:
    os.waitpid(pid, 0)
log.info("killed %d", killed)
logs.close()
""",
    )
    records = parse(lines)
    numbers: dict[int, list[int]] = defaultdict(list)
    lost: dict[int, int] = defaultdict(int)
    for name, pid, _, text in records:
        if match := re.fullmatch(r"(\d+) log records of this process are lost: .*", text):
            lost[pid] += int(match[1])
        elif match := re.fullmatch(r"(\d+) ([vs]*) end", text):
            serial = int(match[1])
            kind, length = ("v", serial * 37 % 3000) if name.startswith("victim") else ("s", serial * 53 % 2000)
            assert match[2] == kind * length
            numbers[pid].append(serial)
    assert all(seen == sorted(set(seen)) for seen in numbers.values())
    last = {pid: int(text.removeprefix("last of ")) for name, pid, _, text in records if text.startswith("last of ")}
    assert len(last) == 2
    for pid, sent in last.items():
        assert sent > 100
        assert len(numbers[pid]) + lost[pid] == sent
        assert len(numbers[pid]) > 0.5 * sent  # how many get through depends on how busy the machine is
    assert records[-1][0] == "attendant"
    killed = int(records[-1][3].removeprefix("killed "))
    assert killed > 30
    heard_victims = {pid for name, pid, _, _ in records if name.startswith("victim")}
    assert len(heard_victims) > killed // 2  # they were indeed killed while they logged


@pytest.mark.processes
def test_the_order_of_one_processs_records_is_kept(tmp_path):
    lines = run(
        tmp_path,
        """
logs = layby_logs.configure(3, True, False, "")

def many():
    for serial in range(3000):
        log.info("%d", serial)

pids = [fork(f"sip-{n}", many) for n in (1, 2)]
for serial in range(300):
    log.info("%d", serial)
for pid in pids:
    os.waitpid(pid, 0)
    logs.child_died(pid)
logs.close()
""",
    )
    heard: dict[str, list[int]] = defaultdict(list)
    for name, _, level, text in parse(lines):
        assert level == "INFO", text
        heard[name].append(int(text))
    assert heard == {"sip-1": list(range(3000)), "sip-2": list(range(3000)), "attendant": list(range(300))}


@pytest.mark.processes
def test_forks_amid_the_receivers_work_leave_whole_children(tmp_path):
    lines = run(
        tmp_path,
        """
logs = layby_logs.configure(3, True, False, "")
pids = []
for number in range(150):
    for _ in range(5):
        log.info("busy")
    pids.append(fork(f"child-{number}", lambda: log.info("alive")))
for pid in pids:
    os.waitpid(pid, 0)
    logs.child_died(pid)
logs.close()
""",
    )
    records = parse(lines)
    assert {name for name, _, _, text in records if text == "alive"} == {f"child-{number}" for number in range(150)}
    assert sum(text == "busy" for _, _, _, text in records) == 750
    assert len(records) == 900  # and no process is said to have lost anything


@pytest.mark.processes
def test_levels_of_other_processes_can_be_changed_while_they_run(tmp_path):
    lines = run(
        tmp_path,
        """
levels = layby_logs.Levels.shared(2)
logs = layby_logs.configure(2, True, False, "", levels=levels)
go, done = os.pipe(), os.pipe()

def child():
    for step in "abcd":
        os.read(go[0], 1)
        log.debug("debug %s", step)
        log.info("info %s", step)
        log.log(layby_logs.NOTICE, "notice %s", step)
        os.write(done[1], b".")

pid = fork("sip-1", child, slot=1)
def step(change):
    change()
    os.write(go[1], b".")
    os.read(done[0], 1)
    log.info("attendant")
step(lambda: None)
step(lambda: levels.set(1, 4))
step(lambda: levels.set(None, -1))
step(lambda: (levels.set(1, 3), levels.reset(1), levels.set(0, 4)))
os.waitpid(pid, 0)
logs.close()
assert type(log) is logging.Logger
assert type(logging.getLogger()) is logging.RootLogger
assert logging.getLoggerClass() is logging.Logger
assert logging.getLogger().handlers == []
assert not log.isEnabledFor(logging.INFO)
""",
    )
    assert [(name, level, text) for name, _, level, text in parse(lines)] == [
        ("sip-1", "NOTICE", "notice a"),
        ("sip-1", "DBG", "debug b"),
        ("sip-1", "INFO", "info b"),
        ("sip-1", "NOTICE", "notice b"),
    ]


@pytest.mark.processes
def test_a_disabled_call_costs_next_to_nothing(tmp_path):
    run(
        tmp_path,
        """
import timeit
logs = layby_logs.configure(3, True, False, "", levels=layby_logs.Levels.shared(1))
best = min(timeit.repeat(lambda: log.debug("text %s", 1), number=20_000, repeat=5)) / 20_000
logs.close()
assert best < 5e-6, best
""",
    )


@pytest.mark.processes
def test_no_text_can_forge_a_line_and_long_ones_are_cut(tmp_path):
    lines = run(
        tmp_path,
        r"""
logs = layby_logs.configure(3, True, False, "edge")

def child():
    log.info("INVITE %s", "sip:a\r\n2026-01-01T00:00:00.000 sip-9[1] ALERT forged\x1b[2J\x9b\u2028\u202e")
    log.info("ends with a line\n")
    log.info("ä" * 100_000)
    log.info("lone \udcff surrogate")
    log.warning("%d is no number", "one")
    try:
        raise ValueError("\n2026-01-01T00:00:00.000 sip-9[1] ALERT forged too" + "x" * 9000)
    except ValueError:
        log.exception("failed")
    log.info({"not": "text"})

os.waitpid(fork("sip-1", child), 0)
logs.close()
""",
    )
    records = parse(lines)
    assert {(name, pid) for name, pid, _, _ in records} == {("sip-1", records[0][1])}
    texts = [text for _, _, _, text in records]
    assert texts[0] == (
        "edge INVITE sip:a\\r\\n2026-01-01T00:00:00.000 sip-9[1] ALERT forged\\x1b[2J\\x9b\\u2028\\u202e"
    )
    assert texts[1] == "edge ends with a line"
    assert re.fullmatch("edge ä{1500,2048}" + re.escape("..."), texts[2])
    assert texts[3] == "edge lone \\udcff surrogate"
    assert texts[4].startswith("edge a log call at script.py:")
    assert "TypeError" in texts[4]
    assert texts[5] == "edge failed"
    assert records[5][2] == "ERROR"
    assert all(text.startswith("edge | ") for text in texts[6:-1])
    assert texts[-2].endswith("xxxx")
    assert texts[-1] == "edge {'not': 'text'}"


@pytest.mark.processes
def test_json_lines(tmp_path):
    lines = run(
        tmp_path,
        r"""
logs = layby_logs.configure(3, True, False, "edge", json=True)
log.log(layby_logs.ALERT, "two\nlines \x7f ä")
logs.close()
""",
    )
    assert len(lines) == 1
    assert "\x7f" not in lines[0]
    fields = json.loads(lines[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", fields.pop("time"))
    assert fields.pop("pid") > 0
    assert fields == {
        "level": "ALERT",
        "process": "attendant",
        "logger": "layby.test",
        "message": "two\nlines \x7f ä",
        "prefix": "edge",
    }


@pytest.mark.processes
def test_syslog_gets_priority_and_process(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "syslog"))
        syslog.settimeout(LIMIT_S)
        lines = run(
            tmp_path,
            f"""
logs = layby_logs.configure(3, False, True, "", syslog_address={str(tmp_path / "syslog")!r})
os.waitpid(fork("sip-1", lambda: (log.info("one\\ntwo"), log.log(layby_logs.ALERT, "fire"))), 0)
logs.close()
nobody = layby_logs.configure(3, False, True, "", syslog_address="/nowhere")
log.info("to nobody")
nobody.close()
""",
        )
        first, second = syslog.recv(4096), syslog.recv(4096)
    assert lines == []
    daemon = 3 << 3
    assert re.fullmatch(rb"<%d>layby\[\d+\]: sip-1 INFO one\\ntwo\0" % (daemon | 6), first)
    assert re.fullmatch(rb"<%d>layby\[\d+\]: sip-1 ALERT fire\0" % (daemon | 1), second)


@pytest.mark.processes
def test_a_log_that_nobody_reads_stops_no_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        PREAMBLE
        + """
logs = layby_logs.configure(3, True, False, "")

def many():
    began = time.monotonic()
    for serial in range(4000):
        log.info("%d %s", serial, "x" * 1000)
    os.write(1, b"took %d ms\\n" % ((time.monotonic() - began) * 1000))
    os.read(0, 1)
    log.info("heard again")

pid = fork("sip-1", many)
os.waitpid(pid, 0)
logs.child_died(pid)
logs.close()
os.write(1, b"lost %d" % logs.lost)
"""
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        watchdog = threading.Timer(LIMIT_S, lambda: os.killpg(process.pid, signal.SIGKILL))
        watchdog.start()
        assert process.stdin
        assert process.stdout
        assert process.stderr
        took_ms = int(process.stdout.readline().split()[1])  # nobody has read standard error so far
        seen = b""  # read until the log has room again, and then let the child say one more thing
        while b"INFO 500 " not in seen:
            seen += os.read(process.stderr.fileno(), 1 << 16)
        process.stdin.write(b".")
        process.stdin.flush()
        rest = process.stderr.read()
        lost = int(process.stdout.read().split()[1])
        watchdog.cancel()
    assert took_ms < 2000
    texts = [text for _, _, _, text in parse((seen + rest).decode().splitlines())]
    assert texts[-1] == "heard again"
    assert lost > 1000
    assert f"{lost} log records of this process are lost: the log is not read fast enough" in texts
    assert len(texts) == 4000 - lost + 2


@pytest.mark.processes
def test_another_start_method_is_refused(tmp_path):
    lines = run(
        tmp_path,
        """
import multiprocessing
multiprocessing.set_start_method("spawn")
layby_logs.configure(3, True, False, "")
""",
        check=False,
    )
    assert lines[-1] == "RuntimeError: logging over processes needs the start method fork"


# Without processes.


def test_levels_of_opensips_and_of_python():
    assert [to_python(level) for level in range(-3, 5)] == [60, 50, 40, 40, 30, 25, 20, 10]
    assert [from_python(to_python(level)) for level in (-3, -2, -1, 1, 2, 3, 4)] == [-3, -2, -1, 1, 2, 3, 4]
    assert (to_python(-99), to_python(99), from_python(1), from_python(35)) == (60, 10, 4, 1)
    assert to_python(2) == NOTICE


def test_levels_in_shared_memory():
    memory = bytearray(Levels.size(3))
    levels, same = Levels(memory, 3), Levels(memory, 3)
    assert [levels.get(slot) for slot in (None, 0, 1, 2)] == [3, 3, 3, 3]
    levels.set(1, LOWEST)
    levels.set(2, 99)
    assert [same.get(slot) for slot in (None, 0, 1, 2)] == [3, 3, -3, 4]
    same.set(None, 1)
    assert [levels.get(slot) for slot in (None, 0, 1, 2)] == [1, 1, 1, 1]
    threshold = levels.threshold_of(1)
    level = levels.level_of(1)
    assert (threshold(), level()) == (logging.WARNING, 1)
    same.set(1, 0)
    assert (threshold(), level(), levels.get(1)) == (logging.ERROR, -1, -1)
    same.reset(1)
    assert (threshold(), level(), levels.get(1)) == (logging.WARNING, 1, 1)
    for slot in (-1, 3):
        with pytest.raises(IndexError):
            levels.get(slot)


@given(st.text(st.characters(), max_size=50))
def test_escaped_text_has_no_control_characters(text):
    escaped = escape(text)
    assert escaped.isprintable() or not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", escaped)
    assert len(f"[{escaped}]".splitlines()) == 1


def record(text: str, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "name": "layby.test", "levelno": 20, **more})


@given(
    st.text(st.characters(), max_size=30),
    st.integers(0, 10_000),
    st.none() | st.text(st.characters(), max_size=30),
    st.integers(0, 500),
    st.text(st.characters(), max_size=200),
)
def test_every_record_fits_into_one_atomic_write(text, repeat, trace, trace_repeat, name):
    made = record(text * repeat, name=name, exc_text=trace and trace * trace_repeat)
    assert len(_pack(made, 2**62, 2**31, name)) <= FRAME_BYTES


def test_what_is_no_record_is_counted_and_the_next_one_is_read():
    pipe = RecordPipe()
    os.write(pipe._writing, b"\x00\x03abc")  # a frame, but no record
    pipe.put_nowait(record("after one"))
    assert pipe.get(0).msg == "after one"
    os.write(pipe._writing, b"\xff\xff and no frame at all")
    with pytest.raises(queue.Empty):
        pipe.get(0)
    pipe.put_nowait(record("after another"))
    assert pipe.get(0).msg == "after another"
    assert pipe.malformed == 2
    assert pipe.qsize() == 0
    pipe.close()
    with pytest.raises(EOFError):
        pipe.get(0)


def test_a_reused_pid_begins_a_new_account():
    pipe = RecordPipe()
    for serial in (1, 2, 5):
        pipe._write(_pack(record(f"first {serial}"), serial, 77, "sip-1"))
    assert pipe.put_death(77)
    for serial in (8, 9):
        pipe._write(_pack(record(f"second {serial}"), serial, 77, "sip-1"))
    loss = "log records of this process are lost: the log is not read fast enough"
    texts = [pipe.get(0).msg for _ in range(7)]
    assert texts == ["first 1", "first 2", f"2 {loss}", "first 5", f"7 {loss}", "second 8", "second 9"]
    assert (pipe.lost, pipe.qsize()) == (9, 0)
    pipe.close()


def test_a_full_pipe_costs_one_wait_and_not_one_per_record():
    pipe = RecordPipe()
    while pipe._write(bytes(FRAME_BYTES)):
        pass
    began = time.monotonic()
    for _ in range(100):
        pipe.put_nowait(record("lost"))
    assert time.monotonic() - began < 1.0
    pipe.close()
