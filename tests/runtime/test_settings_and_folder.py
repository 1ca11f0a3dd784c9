"""What is settled before anything starts: addresses, numbers, and the runtime folder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtime.folder import RuntimeFolder, sweep
from runtime.process_table import ProcessTable, Row
from runtime.settings import Listen, SettingsError, StreamSettings, settle


def test_the_command_line_wins_over_the_script() -> None:
    globals_ = {"udp_workers": 2, "mi_workers": "3", "log_level": 1, "server_header": "Server: mine", "log_stderror": 0}
    plain = settle(globals_, ["udp:127.0.0.1:7"])
    assert (plain.udp_workers, plain.mi_workers, plain.log_level, plain.xlog_level) == (2, 3, 1, 1)
    assert (plain.server_header, plain.listen, plain.log_stderr) == ("mine", (Listen("udp", "127.0.0.1", 7),), False)
    told = settle(globals_, ["udp:127.0.0.1:8"], udp_workers=9, mi_workers=0, log_level=4)
    assert (told.udp_workers, told.mi_workers, told.log_level, told.listen[0].port) == (9, 0, 4, 8)
    assert settle({"server_signature": "no"}, []).server_header is None


@pytest.mark.parametrize(
    "wrong",
    [{"udp_workers": 0}, {"udp_workers": 65}, {"mi_workers": -1}, {"log_level": "many"}, {"max_while_loops": 0}],
)
def test_a_number_out_of_range_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        settle(wrong, [])


def test_what_is_logged_and_sent_comes_from_the_globals() -> None:
    plain = settle({}, [])
    assert (plain.log_json, plain.user_agent, plain.open_files) == (False, None, None)
    globals_ = {"stderror_log_format": "json", "user_agent_header": "User-Agent: me", "open_files_limit": 4096}
    told = settle(globals_, [])
    assert (told.log_json, told.user_agent, told.open_files) == (True, "me", 4096)
    for wrong in ({"stderror_log_format": "xml"}, {"open_files_limit": 5}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            settle(wrong, [])


def test_what_the_processes_talk_over_comes_from_the_globals() -> None:
    assert settle({}, []).transport == "zmq"
    assert [settle({"process_transport": name}, []).transport for name in ("zmq", "unix")] == ["zmq", "unix"]
    with pytest.raises(SettingsError, match="process_transport is 'tcp'; it must be zmq or unix"):
        settle({"process_transport": "tcp"}, [])


def test_the_same_address_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="twice"):
        settle({}, ["udp:127.0.0.1:7", "udp:127.0.0.1:7"])


def test_the_same_port_of_two_protocols_is_no_conflict() -> None:
    assert len(settle({}, ["udp:127.0.0.1:7", "tcp:127.0.0.1:7"]).listen) == 2


def test_what_connections_are_held_to_comes_from_the_globals() -> None:
    assert settle({}, []).streams == StreamSettings()
    globals_ = {"tcp_connect_timeout": 250, "tcp_connection_lifetime": 9, "tcp_max_connections": 7, "tcp_workers": 3}
    told = settle({**globals_, "tcp_keepalive": "no", "tcp_keepidle": 5}, []).streams
    assert (told.connect_timeout_s, told.lifetime_s, told.max_connections) == (0.25, 9, 7)
    assert (told.keepalive, told.keepidle_s) == (False, 5)
    with pytest.raises(SettingsError, match="tcp_max_connections"):
        settle({"tcp_max_connections": 0}, [])


def test_a_folder_is_private_locked_and_goes_with_its_server(tmp_path) -> None:
    path = tmp_path / "one"
    folder = RuntimeFolder.make(path)
    assert path.stat().st_mode & 0o777 == 0o700
    (path / "socket").touch()
    with pytest.raises(SettingsError, match="another server"):
        RuntimeFolder.make(path)
    folder.close()
    assert not path.exists()


def test_only_folders_of_the_dead_are_swept(tmp_path) -> None:
    living = RuntimeFolder.make(tmp_path / "living")
    make_and_die = (
        "import sys, os; from pathlib import Path; from runtime.folder import RuntimeFolder;"
        "RuntimeFolder.make(Path(sys.argv[1])); (Path(sys.argv[1]) / 'x').touch(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", make_and_die, str(tmp_path / "dead")], check=True)
    assert (tmp_path / "dead" / "x").exists()
    assert sweep(tmp_path) == [tmp_path / "dead"]
    assert (tmp_path / "living").exists()
    assert not (tmp_path / "dead").exists()
    living.close()


def test_a_folder_that_is_left_over_is_emptied_and_used(tmp_path) -> None:
    (tmp_path / "one" / "deep").mkdir(parents=True)
    (tmp_path / "one" / "file").touch()
    (tmp_path / "one" / ".layby-lock").touch()
    folder = RuntimeFolder.make(tmp_path / "one")
    assert os.listdir(tmp_path / "one") == [".layby-lock"]
    folder.close()


def test_a_path_that_leaves_no_room_for_sockets_is_refused(tmp_path) -> None:
    with pytest.raises(SettingsError, match="too long"):
        RuntimeFolder.make(tmp_path / ("x" * 80))


def test_a_folder_with_other_peoples_files_is_left_alone(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match="has files in it"):
        RuntimeFolder.make(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["thesis.txt"]


def test_the_folder_of_all_servers_goes_with_the_last_one(tmp, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp))
    folder = RuntimeFolder.make()
    assert [path.name for path in tmp.iterdir()] == [f"layby-{os.getuid()}"]
    folder.close()
    assert list(tmp.iterdir()) == []


def test_a_symlink_is_no_runtime_folder(tmp_path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SettingsError):
        RuntimeFolder.make(tmp_path / "link")


def test_a_row_of_the_process_table_is_read_as_it_was_written() -> None:
    table = ProcessTable(2)
    row = Row(1, 4711, 3, 2, 123.5, "worker")
    table.write(row)
    assert list(table) == [Row(0, 0, 0, 0, 0.0, ""), row]
