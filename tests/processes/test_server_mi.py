"""The commands over MI, against a running server."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.harness import ROOT, wait_until

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rU == "old") async(mi("bench_wait 600"), done);
    append_to_reply("X-Route: one\\r\\n");
    sl_send_reply(200, "OK");
}
route[done] {
    append_to_reply("X-Route: resumed by one\\r\\n");
    t_reply(200, "OK");
}
startup_route { cache_store("local", "startup", "$route.type"); }
timer_route[tick, 1] { update_stat("ticks", 1); async(mi("bench_wait 1"), ticked); }
route[ticked] { update_stat("ticked", 1); }
"""
HEAD = 'modparam("statistics", "variable", "ticks")\nmodparam("statistics", "variable", "ticked")\n'


@pytest.fixture
def server(start_server):
    return start_server(ROUTES, head=HEAD, options=("--udp-workers", "2", "--mi-workers", "2"))


def test_who_and_what(server) -> None:
    assert set(server.mi("uptime")) == {"Now", "Up since", "Up time"}
    assert re.fullmatch(r"OpenSIPS \(3\.6\.0 MI of layby [0-9.]+ \(\w+/linux\)\)", server.mi("version")["Server"])
    assert server.mi("pwd") == {"WD": str(ROOT)}
    assert "run" in server.mi("arg")
    types = [row["Type"] for row in server.mi("ps")["Processes"]]
    assert types == ["attendant", *[f"SIP receiver udp:127.0.0.1:{server.sip_port}"] * 2, *["MI worker"] * 2, types[-1]]
    assert types[-1] == f"MI HTTPD 127.0.0.1:{server.http_port}"
    assert server.mi("ps")["Processes"][0]["PID"] == server.process.pid
    assert all(Path(f"/proc/{pid}").exists() for pid in server.all_pids())
    titles = {Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0").decode() for pid in server.all_pids()[1:]}
    assert titles == {f"layby: {name}" for name in ("sip-1", "sip-2", "worker-1", "worker-2", "mi-1")}


def test_which_and_help(server) -> None:
    names = server.mi("which")
    wanted = """uptime version pwd arg which help ps kill log_level xlog_level get_statistics list_statistics
        reset_statistics cache_store cache_fetch cache_remove reload_routes job_list job_cancel worker_list"""
    assert set(wanted.split()) <= set(names)
    assert server.mi("which", ["log_level"]) == [[], ["level"], ["level", "pid"]]
    assert server.mi("help", ["ps"])["Exported by"] == "core"
    assert server.mi_error("help", ["zz"]) == {"code": 404, "message": "unknown MI command"}


def test_log_levels(server) -> None:
    pid = server.all_pids()[1]
    assert {row["Log level"] for row in server.mi("log_level")["Processes"]} == {3}
    assert server.mi("log_level", [1]) == {"New global log level": 1}
    server.mi("log_level", [4, pid])
    levels = {row["PID"]: row["Log level"] for row in server.mi("log_level")["Processes"]}
    assert levels.pop(pid) == 4
    assert set(levels.values()) == {1}
    assert server.mi_error("log_level", [3, 1])["data"] == "Bad PID"
    assert server.mi_error("log_level", [9])["code"] == 400


def test_statistics_count_over_all_processes(server) -> None:
    client = server.client()
    for _ in range(20):
        client.ask("x")
    assert server.statistic("core:rcv_requests") == 20
    assert server.mi("get_statistics", [["rcv_requests", "nope"]]) == {"core:rcv_requests": 20}
    assert server.mi("get_statistics", [["nope"]]) == {}
    assert server.mi("reset_statistics", [["rcv_requests"]]) == "OK"
    assert server.statistic("core:rcv_requests") == 0
    assert server.mi_error("reset_statistics", [["nope"]]) == {"code": 404, "message": "Statistics Not Found"}
    kinds = server.mi("list_statistics")
    assert (kinds["core:rcv_requests"], kinds["shmem:total_size"]) == ("incremental", "non-incremental")
    assert server.mi("get_statistics", [["shmem:"]])["shmem:used_size"] > 0


def test_the_cache(server) -> None:
    assert server.mi("cache_store", {"system": "local", "attr": "k", "value": "ü"}) == "OK"
    assert server.mi("cache_fetch", ["local", "k"]) == {"key": "k", "value": "ü"}
    assert server.mi("cache_store", ["local", "gone", "v", 1]) == "OK"
    assert server.mi("cache_remove", ["local", "k"]) == "OK"
    assert server.mi_error("cache_fetch", ["local", "k"]) == {"code": 400, "message": "Value not found"}
    assert server.mi_error("cache_fetch", ["redis", "k"])["code"] == 500
    fetch = '{"jsonrpc":"2.0","id":1,"method":"cache_fetch","params":["local","gone"]}'
    wait_until(lambda: "error" in server.rpc(fetch))


def test_workers_are_listed_with_their_work(server) -> None:
    assert server.mi("bench_sleep", [1]) == {"slept_ms": 1}
    rows = server.mi("worker_list")["Workers"]
    assert [row["Name"] for row in rows] == ["worker-1", "worker-2"]
    assert set(rows[0]) == {"Name", "PID", "Load", "Jobs done", "Expected work [ms]", "Restarts"}
    assert sum(row["Jobs done"] for row in rows) == 1
    assert [row["Load"] for row in rows] == [0, 0]


def test_startup_and_timer_routes_run_and_may_park(server) -> None:
    assert server.mi("cache_fetch", ["local", "startup"])["value"] == "startup_route"
    wait_until(lambda: server.statistic("script:ticked") >= 2, what="the timer route resumes")
    assert server.statistic("script:ticks") - server.statistic("script:ticked") in (0, 1)


def test_a_reload_takes_new_routes_while_parked_requests_resume_on_the_old(server) -> None:
    client = server.client()
    parked_id, parked = client.request("old")
    client.send(parked)
    wait_until(lambda: server.statistic("async:parked"))
    text = server.script.read_text()
    server.script.write_text(text.replace(": one", ": two").replace("by one", "by two"))
    assert server.mi("reload_routes") == "OK"
    assert [client.ask("x").header("X-Route") for _ in range(10)] == ["two"] * 10
    assert client.final(parked_id).header("X-Route") == "resumed by one"
    assert client.ask("old").header("X-Route") == "resumed by two"


def test_a_reload_of_a_bad_script_changes_nothing(server) -> None:
    text = server.script.read_text()
    server.script.write_text(text.replace("route[done]", "route[elsewhere]"))
    error = server.mi_error("reload_routes")
    assert error["code"] == 500
    assert f"{server.script}:" in error["data"]
    assert "done" in error["data"]
    assert server.client().ask("old").header("X-Route") == "resumed by one"


def test_a_process_that_is_replaced_after_a_reload_has_the_new_routes(server) -> None:
    server.script.write_text(server.script.read_text().replace(": one", ": two"))
    assert server.mi("reload_routes") == "OK"
    victims = server.pids("SIP")
    for pid in victims:
        os.kill(pid, 9)
    server.wait_replaced(victims)
    assert all(server.client().ask("x").header("X-Route") == "two" for _ in range(10))


def test_kill_shuts_the_server_down(server) -> None:
    assert server.mi("kill") == "OK"
    assert server.process.wait(10) == 0


def test_one_can_always_ask_and_end_whatever_the_workers_are_busy_with(start_server) -> None:
    routes = """
    route {
        if ($rU == "slow") { launch(mi("bench_sleep 8000")); sl_send_reply(200, "OK"); exit; }
        async(mi("bench_sleep 8000", $var(r)), done);
    }
    route[done] { t_reply(200, "$rc"); }
    """
    server = start_server(routes, options=("--udp-workers", "1", "--mi-workers", "1", "--drain", "0"))
    client = server.client()
    client.ask("slow")
    wait_until(lambda: server.mi("worker_list", timeout_s=1)["Workers"][0]["Load"] == 1)
    call_id, data = client.request("waits")
    client.send(data)
    (waiting,) = wait_until(
        lambda: [job for job in server.mi("job_list", timeout_s=1)["Jobs"] if job["state"] == "queued"]
    )
    (running,) = [job for job in server.mi("job_list", timeout_s=1)["Jobs"] if job["state"] == "sent"]
    assert set(server.mi("uptime", timeout_s=1)) == {"Now", "Up since", "Up time"}
    assert server.mi("job_cancel", [waiting["id"]], timeout_s=1) == "OK"
    assert client.final(call_id).reason == "-487"
    assert server.mi("job_cancel", [running["id"]], timeout_s=1) == "OK"
    assert server.mi("job_list", timeout_s=1) == {"Jobs": [], "Silent": []}


TIMERS = """
timer_route[a, 1] { update_stat("ticks", 1); }
timer_route[b, 1] { update_stat("ticked", 1); }
route { sl_send_reply(200, "OK"); }
"""


def test_timers_follow_a_reload_by_name(start_server) -> None:
    server = start_server(TIMERS, head=HEAD, options=("--udp-workers", "1", "--mi-workers", "1"))
    text = server.script.read_text()
    wait_until(lambda: server.statistic("script:ticked"))
    server.script.write_text(text.replace("timer_route[a, 1]", "timer_route[new, 3600] { }\ntimer_route[a, 1]"))
    assert server.mi("reload_routes") == "OK"
    before = server.statistic("script:ticks"), server.statistic("script:ticked")
    wait_until(lambda: server.statistic("script:ticks") > before[0] and server.statistic("script:ticked") > before[1])
    server.script.write_text(text.replace("timer_route[a, 1]", "timer_route[a, 3600]"))
    assert server.mi("reload_routes") == "OK"
    before = server.statistic("script:ticks"), server.statistic("script:ticked")
    wait_until(lambda: server.statistic("script:ticked") >= before[1] + 2)
    assert server.statistic("script:ticks") == before[0]


def test_a_reload_with_an_optional_file_that_is_not_there(start_server) -> None:
    server = start_server('import_file "not_there.cfg"\nroute { sl_send_reply(200, "one"); }')
    server.script.write_text(server.script.read_text().replace('"one"', '"two"'))
    assert server.mi("reload_routes") == "OK"
    victims = server.pids("SIP")
    for pid in victims:
        os.kill(pid, 9)
    server.wait_replaced(victims)
    assert server.client().ask("x").reason == "two"


def test_a_route_that_reloads_the_script_under_itself_goes_on_with_its_own(start_server) -> None:
    routes = """
    route { mi("reload_routes", $var(r)); async(mi("uptime"), old); }
    route[old] { t_reply(200, "$var(r)"); }
    """
    server = start_server(
        routes,
        options=(
            "--udp-workers",
            "1",
        ),
    )
    server.script.write_text(server.script.read_text().replace("old", "renamed"))
    assert server.client().ask("x").reason == '"OK"'
    assert server.client().ask("x").reason == '"OK"'


def test_the_fifo_has_the_mode_that_the_script_gives_it(start_server, tmp: Path) -> None:
    fifo = tmp / "fifo"
    head = (
        f'loadmodule "mi_fifo.so"\nmodparam("mi_fifo", "fifo_name", "{fifo}")\nmodparam("mi_fifo", "fifo_mode", 0666)\n'
    )
    start_server("route { exit; }", head=head)
    wait_until(fifo.exists, what="the pipe")
    wait_until(lambda: fifo.stat().st_mode & 0o777 == 0o666, what="its mode")
