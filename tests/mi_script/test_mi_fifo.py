"""The FIFO transport, with real FIFOs and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import time
from functools import partial

import pytest

from mi_script.service import Service
from mi_script.transports.fifo import FifoTransport
from mi_script.transports.paths import CannotListen

UPTIME = '{"jsonrpc":"2.0","method":"uptime","id":"7"}'
OK = {"jsonrpc": "2.0", "result": {"Now": "Sun Nov 22 21:10:30 2026", "Up time": "3 [sec]"}, "id": "7"}


@contextlib.asynccontextmanager
async def listening(folder, service, **kwargs):
    replies = folder / "replies"
    replies.mkdir()
    transport = FifoTransport(folder / "fifo", f"{replies}/", service, **kwargs)
    await transport.start()
    try:
        yield transport
    finally:
        await transport.close()


async def until(condition, within_s=15.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


def write(folder, data):
    """As a client writes: open, write, close."""
    fd = os.open(folder / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, data if isinstance(data, bytes) else data.encode())
    os.close(fd)


def make_reply(folder, name):
    os.mkfifo(folder / "replies" / name)
    return folder / "replies" / name


def read_blocking(path):
    with open(path, encoding="utf-8") as fifo:
        return fifo.read()


async def read_reply(path, within_s=10.0):
    """As a client reads: opened after the command was written, and until the end."""
    reading = asyncio.ensure_future(asyncio.to_thread(read_blocking, path))
    done, _ = await asyncio.wait([reading], timeout=within_s)
    if not done:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # lets the thread go
        await reading
    assert done, "there was no answer in time"
    return reading.result()


async def ask(folder, name, text):
    path = make_reply(folder, name)
    write(folder, f":{name}:{text}")
    return await read_reply(path)


def test_asks_and_gets_an_answer(play, tmp_path, service):
    async def run():
        async with listening(tmp_path, service) as transport:
            assert stat.S_IMODE(os.stat(tmp_path / "fifo").st_mode) == 0o600
            reply = await ask(tmp_path, "r1", UPTIME)
            assert reply.endswith("}\n")
            assert json.loads(reply) == OK
            assert json.loads(await ask(tmp_path, "r2", f"[{UPTIME},1]"))[0] == OK
            await until(lambda: transport.counters["replies"] == 2)
            assert transport.counters == {"requests": 2, "replies": 2, "dropped": 0, "errors": 0}
        assert not (tmp_path / "fifo").exists()
        await transport.close()  # a second time does nothing

    play(run())


def test_probes_garbage_and_pieces(play, tmp_path, service):
    async def run():
        async with listening(tmp_path, service) as transport:
            for _ in range(5):
                write(tmp_path, b"")  # a client that looks whether anybody is there
            write(tmp_path, b"\0garbage without end\xff\n")
            path = make_reply(tmp_path, "r")
            write(tmp_path, f":r:{UPTIME[:20]}")
            await asyncio.sleep(0)
            write(tmp_path, UPTIME[20:])
            assert json.loads(await read_reply(path)) == OK
            assert json.loads(await ask(tmp_path, "s", '{"jsonrpc" oops}')) == {
                "jsonrpc": "2.0",
                "error": {"code": -32700, "message": "Parse error", "data": "not JSON"},
                "id": None,
            }
            assert transport.counters["errors"] == 1

    play(run())


def test_several_commands_in_one_write_are_each_answered(play, tmp_path, service):
    async def run():
        async with listening(tmp_path, service):
            paths = [make_reply(tmp_path, f"r{n}") for n in range(20)]
            write(tmp_path, "\n".join(f":r{n}:" + UPTIME.replace('"7"', str(n)) for n in range(20)))
            replies = await asyncio.gather(*(read_reply(path) for path in paths))
            assert [json.loads(reply)["id"] for reply in replies] == list(range(20))

    play(run())


def test_an_incomplete_command_is_told_so_in_time(play, tmp_path, service):
    async def run():
        async with listening(tmp_path, service, partial_s=0.05):
            reply = json.loads(await ask(tmp_path, "r", UPTIME[:-1]))
            assert reply["error"] == {"code": -32700, "message": "Parse error", "data": "incomplete"}
            assert json.loads(await ask(tmp_path, "s", UPTIME)) == OK

    play(run())


@pytest.mark.parametrize(
    "command",
    [
        '{"jsonrpc":"2.0","method":"uptime","id":1}',
        '{"jsonrpc":"2.0","method":"t_uac_dlg","params":{"method":"OPTIONS","ruri":"sip:x"},"id":1}',
    ],
)
def test_fact_08_no_reply_name_runs_and_harms_nobody(play, tmp_path, service, command):
    async def run():
        async with listening(tmp_path, service) as transport:
            write(tmp_path, "::" + command)
            assert json.loads(await ask(tmp_path, "r", UPTIME)) == OK
            await until(lambda: transport.counters["requests"] == 2)
            assert transport.counters["dropped"] == 0
            assert os.listdir(tmp_path / "replies") == ["r"]

    play(run())


def test_a_notification_releases_who_waits(play, tmp_path, service, demo):
    async def run():
        async with listening(tmp_path, service):
            assert await ask(tmp_path, "r", '{"jsonrpc":"2.0","method":"uptime"}') == ""
            assert demo.ran == ["uptime"]

    play(run())


def test_replies_go_to_fifos_in_the_reply_folder_and_nowhere_else(play, tmp_path, service, demo):
    async def run():
        async with listening(tmp_path, service, reply_s=0.2) as transport:
            (tmp_path / "replies" / "file").write_text("untouched")
            (tmp_path / "replies" / "folder").mkdir()
            os.mkfifo(tmp_path / "outside")
            (tmp_path / "replies" / "link").symlink_to(tmp_path / "outside")
            (tmp_path / "replies" / "null").symlink_to("/dev/null")
            outside = os.open(tmp_path / "outside", os.O_RDONLY | os.O_NONBLOCK)
            names = ["file", "folder", "link", "null", "absent"]
            for name in names:
                write(tmp_path, f":{name}:{UPTIME}\n")
            await until(lambda: transport.counters["dropped"] == len(names))
            assert demo.ran == ["uptime"] * len(names)
            # Names that are no plain file names are not even run.
            for name in ["../outside", "/etc/passwd", "a.b", "a\\b"]:
                write(tmp_path, f":{name}:{UPTIME}\n")
            await until(lambda: transport.counters["dropped"] == len(names) + 4)
            assert demo.ran == ["uptime"] * len(names)
            assert (tmp_path / "replies" / "file").read_text() == "untouched"
            assert os.read(outside, 100) == b""
            os.close(outside)
            assert json.loads(await ask(tmp_path, "r", UPTIME)) == OK

    play(run())


def test_readers_that_are_gone_or_slow_hold_nobody(play, tmp_path, service):
    big = '{"jsonrpc":"2.0","method":"big","params":[500000],"id":1}'

    async def run():
        async with listening(tmp_path, service, reply_s=0.3) as transport:
            make_reply(tmp_path, "never")
            write(tmp_path, f":never:{UPTIME}")  # makes its FIFO and never opens it
            lazy = make_reply(tmp_path, "lazy")
            fd = os.open(lazy, os.O_RDONLY | os.O_NONBLOCK)  # opens it and never reads
            write(tmp_path, f":lazy:{big}")
            gone = make_reply(tmp_path, "gone")
            leaver = os.open(gone, os.O_RDONLY | os.O_NONBLOCK)
            write(tmp_path, f":gone:{big}")
            await until(lambda: transport.counters["requests"] == 3)
            os.close(leaver)  # goes away in the middle
            assert json.loads(await ask(tmp_path, "r", UPTIME)) == OK
            await until(lambda: transport.counters["dropped"] == 3)
            os.close(fd)
            # And one that takes its time, but reads, gets everything.
            assert json.loads(await ask(tmp_path, "s", big))["result"] == "x" * 500_000

    play(run())


def test_more_than_may_run_at_once_waits_its_turn(play, tmp_path, executor):
    running, most = set(), 0

    async def perform(call, transport):
        nonlocal most
        running.add(call.params[0])
        most = max(most, len(running))
        await asyncio.sleep(0.001)
        running.discard(call.params[0])
        return await executor.answer(call)

    async def run():
        async with listening(tmp_path, Service(perform), most=3) as transport:
            for n in range(40):
                write(tmp_path, f'::{{"jsonrpc":"2.0","method":"echo","params":[{n}]}}')
            assert json.loads(await ask(tmp_path, "r", '{"jsonrpc":"2.0","method":"echo","params":["end"],"id":1}'))
            assert transport.counters["requests"] == 41

    play(run())
    assert most == 3


def test_closing_lets_what_runs_end(play, tmp_path, executor):
    begun, release = [], asyncio.Event()

    async def perform(call, transport):
        begun.append(call.method)
        await release.wait()
        return await executor.answer(call)

    async def run():
        paths = []
        async with listening(tmp_path, Service(perform), most=1) as transport:
            for name in ("running", "waiting", "unread"):
                paths.append(make_reply(tmp_path, name))
                write(tmp_path, f":{name}:{UPTIME}")
                if name != "unread":
                    await until(partial(lambda n: transport.counters["requests"] == n, len(paths)))
            assert begun == ["uptime"]
            asyncio.get_running_loop().call_later(0.01, release.set)
            replies = [asyncio.ensure_future(read_reply(path)) for path in paths]
            await asyncio.sleep(0)
        assert [json.loads(await reply) for reply in replies] == [OK] * 3

    play(run())


def test_closing_cancels_what_runs_too_long(play, tmp_path):
    ended = []

    async def perform(call, transport):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(call.method)

    async def run():
        async with listening(tmp_path, Service(perform), drain_s=0.05) as transport:
            write(tmp_path, f"::{UPTIME}")
            await until(lambda: transport.counters["requests"] == 1)
            await asyncio.sleep(0)
        assert ended == ["uptime"]

    play(run())


def test_takes_over_what_a_dead_process_left_and_nothing_else(play, tmp_path, service):
    async def start(path):
        transport = FifoTransport(path, tmp_path, service)
        await transport.start()
        return transport

    async def run():
        stale = tmp_path / "stale"
        os.mkfifo(stale, 0o666)
        first = await start(stale)
        with pytest.raises(CannotListen, match="another process listens"):
            await start(stale)
        (tmp_path / "file").write_text("mine")
        with pytest.raises(CannotListen, match="is there and is no FIFO"):
            await start(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "mine"
        (tmp_path / "link").symlink_to(stale)
        with pytest.raises(CannotListen, match="is there and is no FIFO"):
            await start(tmp_path / "link")
        with pytest.raises(CannotListen, match="cannot make the FIFO"):
            await start(tmp_path / "nofolder" / "fifo")
        # What somebody put in its place is not ours to remove.
        stale.unlink()
        stale.write_text("somebody else's")
        await first.close()
        assert stale.read_text() == "somebody else's"

    play(run())
