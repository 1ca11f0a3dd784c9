"""OpenSIPS's own clients, `opensips-mi` and `opensips-cli`, against the three transports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mi_script.transports.datagram import DatagramTransport
from mi_script.transports.fifo import FifoTransport
from mi_script.transports.http import HttpTransport

BIN = Path(sys.executable).parent
TRANSPORTS = ["fifo", "udp", "unix", "http"]

pytestmark = pytest.mark.processes


@dataclass
class Server:
    """Where the transports listen, and how its clients are told so."""

    folder: Path
    udp: tuple[str, int]
    http: tuple[str, int]

    def mi(self, transport):
        return {
            "fifo": ["-t", "fifo", "-f", str(self.folder / "fifo"), "-fd", str(self.folder)],
            "udp": ["-t", "datagram", "-i", self.udp[0], "-p", str(self.udp[1]), "-dt", "5"],
            "unix": ["-t", "datagram", "-ds", str(self.folder / "mi.sock"), "-dt", "5"],
            "http": ["-t", "http", "-i", self.http[0], "-p", str(self.http[1])],
        }[transport]

    def cli(self, transport):
        options = {
            "fifo": {
                "communication_type": "fifo",
                "fifo_file": self.folder / "fifo",
                "fifo_file_fallback": self.folder / "fifo",
                "fifo_reply_dir": self.folder,
            },
            "udp": {"communication_type": "datagram", "datagram_ip": self.udp[0], "datagram_port": self.udp[1]},
            "unix": {"communication_type": "datagram", "datagram_unix_socket": self.folder / "mi.sock"},
            "http": {"communication_type": "http", "url": f"http://{self.http[0]}:{self.http[1]}/mi"},
        }[transport]
        return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    async def run(self, program, *arguments):
        """Run a client to its end: exit code, standard output, standard error."""
        client = await asyncio.create_subprocess_exec(
            BIN / program,
            *arguments,
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(client.communicate(), 30.0)
        return client.returncode, out.decode(), err.decode()

    async def ask_mi(self, transport, *arguments):
        return await self.run("opensips-mi", *self.mi(transport), *arguments)

    async def ask_cli(self, transport, *arguments):
        return await self.run("opensips-cli", *self.cli(transport), "-x", *arguments)


@contextlib.asynccontextmanager
async def serving(folder, service):
    udp, http = DatagramTransport(("127.0.0.1", 0), service), HttpTransport("127.0.0.1", 0, service)
    transports = [udp, http, FifoTransport(folder / "fifo", folder, service)]
    transports.append(DatagramTransport(folder / "mi.sock", service))
    for transport in transports:
        await transport.start()
    try:
        yield Server(folder, udp.address, http.address)
    finally:
        for transport in transports:
            await transport.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_opensips_mi(tmp_path, service, transport):
    async def run():
        async with serving(tmp_path, service) as server:
            code, out, _ = await server.ask_mi(transport, "uptime")
            assert (code, json.loads(out)["Up time"]) == (0, "3 [sec]")

            code, out, _ = await server.ask_mi(transport, "-s", "rcv_requests", "shmem:total_size")
            assert (code, json.loads(out)) == (0, {"core:rcv_requests": 7, "shmem:total_size": 1024})

            code, out, _ = await server.ask_mi(transport, "-j", '{"index":18,"counter":5}', "dlg_list")
            assert (code, json.loads(out)) == (0, {"count": 20, "Dialogs": [{"ID": "18"}, {"ID": "19"}]})

            code, out, _ = await server.ask_mi(transport, "nosuch")
            assert (code, out) == (1, "ERROR:  Error executing command: -32601: Method not found\n")

            code, out, _ = await server.ask_mi(transport, "-bc", "commands")
            assert (code, "dr_reload" in out.split(), "which" in out.split()) == (0, True, True)

    asyncio.run(run())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_opensips_cli(tmp_path, service, transport):
    async def run():
        async with serving(tmp_path, service) as server:
            code, out, err = await server.ask_cli(transport, "mi", "dlg_list", "index=0", "counter=1")
            assert (code, json.loads(out)) == (0, {"count": 20, "Dialogs": [{"ID": "0"}]}), err

            code, _, err = await server.ask_cli(transport, "mi", "uptime", "x")
            assert code == 255
            assert "-32602: Invalid params (Too few or too many parameters)" in err

    asyncio.run(run())


def test_opensips_cli_in_depth(tmp_path, service, demo):
    async def run():
        async with serving(tmp_path, service) as server:
            ask = server.ask_cli
            assert json.loads((await ask("http", "mi", "get_statistics", "rcv_requests"))[1]) == {
                "core:rcv_requests": 7
            }
            # The article's own example: by name, and by position, which OpenSIPS 3.6 refuses.
            for argument in ("partition_name=extensions", "extensions"):
                code, out, _ = await ask("http", "mi", "dr_reload", argument)
                assert (code, json.loads(out)) == (0, "OK")
            code, _, err = await ask("http", "mi", "dr_reload", "other")
            assert code == 255
            assert "404: Partition not found (there is only extensions)" in err
            # A name of 4.0's, which the client only sends because `which` lists it.
            assert json.loads((await ask("fifo", "mi", "drouting:reload"))[1]) == "OK"
            # It looks the command up in `which`, and refuses by itself what is not there.
            code, _, err = await ask("http", "mi", "nosuch")
            assert code == 255
            assert "no command 'nosuch' in module 'mi'" in err
            code, _, _ = await ask("http", "--", "mi", "-j", "cache_store", '"local"', '"k"', '"v ä"', "5")
            assert (code, demo.cache) == (0, {"k": "v ä"})
            code, out, _ = await server.run(
                "opensips-cli", *server.cli("udp"), "-o", "output_type=lines", "-x", "mi", "cache_fetch", "local", "k"
            )
            assert (code, out.splitlines()) == (0, ["key: k", "value: v ä"])
            arguments = ["mi", "t_uac_dlg", "method=OPTIONS", "ruri=sip:x@127.0.0.1:5990"]
            assert json.loads((await ask("unix", *arguments))[1]) == {"Status": "200 OK"}

    asyncio.run(run())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_clients_side_by_side(tmp_path, service, transport):
    async def run():
        async with serving(tmp_path, service) as server:
            asked = [server.ask_mi(transport, "echo", f"client {n}") for n in range(4)]
            for n, (code, out, err) in enumerate(await asyncio.gather(*asked)):
                assert (code, out) == (0, f'"client {n}"\n'), err

    asyncio.run(run())
