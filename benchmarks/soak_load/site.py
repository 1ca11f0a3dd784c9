"""The server of the soak: its script, in as many versions as it is reloaded, and where its files are."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.traffic.server import Server

SHARED_MEMORY: Final = Path("/dev/shm")
EVENT: Final = "E_SOAK_LAUNCHED"
"""Tells that the report route of a `launch()` has run."""
STAMP: Final = "X-Soak"
"""The header that says through what a request has come: see `soak_load.stamps`."""
OWNER: Final = "X-Owner"
"""The header that says which process has a request in its hands."""

SCRIPT: Final = """
log_level=3
udp_workers={sip_processes}
udp_readers={readers}
mi_workers={mi_workers}
socket=udp:127.0.0.1:{port}
loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sipmsgops.so"
loadmodule "dialog.so"
loadmodule "event_datagram.so"
loadmodule "mi_script.so"
loadmodule "httpd.so"
modparam("httpd", "ip", "127.0.0.1")
modparam("httpd", "port", {http_port})
loadmodule "mi_http.so"
loadmodule "{module}"
modparam("soaking", "tell", {told_port})

route {
    if (!mf_process_maxfwd_header(70)) {
        sl_send_reply(483, "Too Many Hops");
        exit;
    }
    if (has_totag()) {
        if (loose_route())
            t_relay();
        else if (!is_method("ACK"))
            sl_send_reply(404, "Not Here");
        else if (t_check_trans())
            t_relay();
        exit;
    }
    $avp(token) = $ci;
    $avp(owner) = $pp;
    $avp(script) = "{version}";
    append_to_reply("X-Owner: $pp\\r\\n");
    if (!is_method("INVITE")) {
        t_newtran();
        route(asked);
        exit;
    }
    t_newtran();
    t_reply(100, "Held");
    record_route();
    create_dialog();
    switch ($rU) {
    case "waits":
        async(mi("soak_wait $hdr(X-Ms) $ci", $avp(answer)), call, 10);
    case "sleeps":
        async(mi("soak_sleep $hdr(X-Ms) $ci $pp", $avp(answer)), call, 10);
    case "reply":
        t_on_reply("reply");
        break;
    }
    $avp(rc) = 1;
    $avp(answer) = $ci + " 0";
    route(send);
}
route[asked] {
    switch ($rU) {
    case "waits":
        async(mi("soak_wait $hdr(X-Ms) $ci", $avp(answer)), resumed, 10);
    case "sleeps":
        async(mi("soak_sleep $hdr(X-Ms) $ci $pp", $avp(answer)), resumed, 10);
    case "launches":
        launch(mi("soak_wait $hdr(X-Ms) $ci"), launched, "$ci $pp {version}");
        break;
    case "inline":
        mi("soak_wait $hdr(X-Ms) $ci", $avp(answer)); # layby: ignore[blocking-mi]
        route(resumed);
        exit;
    }
    $avp(rc) = 1;
    $avp(answer) = $ci + " 0";
    route(answer);
}
route[resumed] {
    $avp(rc) = $rc;
    route(answer);
}
route[answer] {
    append_to_reply("X-Soak: $ci $avp(token) $avp(owner) $pp $avp(script) {version} $avp(rc) $avp(answer)\\r\\n");
    t_reply(200, "OK");
}
route[call] {
    $avp(rc) = $rc;
    route(send);
}
route[send] {
    append_hf("X-Owner: $pp\\r\\n");
    append_hf("X-Soak: $ci $avp(token) $avp(owner) $pp $avp(script) {version} $avp(rc) $avp(answer)\\r\\n");
    $du = "sip:127.0.0.1:{uas_port}";
    if (!t_relay())
        sl_reply_error();
}
onreply_route[reply] {
    if ($rs >= 200)
        async(mi("soak_wait 10 $ci", $avp(answer)), replied, 10);
}
route[replied] {
    append_hf("X-Soak: $ci $avp(token) $avp(owner) $pp $avp(script) {version} $rc $avp(answer)\\r\\n");
}
route[launched] {
    $avp(names) = "rc";
    $avp(values) = $rc;
    $avp(names) = "pid";
    $avp(values) = $pp;
    $avp(names) = "said";
    $avp(values) = $param(1);
    $avp(names) = "script";
    $avp(values) = "{version}";
    raise_event("E_SOAK_LAUNCHED", $avp(names), $avp(values));
}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """What a server is started for.

    Args:
        folder: where its files go.
        port: its UDP port on 127.0.0.1.
        uas_port: where calls go.
        told_port: where its commands tell that they run.
        http_port: of MI.
        sip_processes: how many it has.
        mi_workers: how many it starts with; up to twice as many while jobs wait.
        readers: how many of the SIP processes read the socket at least.
    """

    folder: Path
    port: int
    uas_port: int
    told_port: int
    http_port: int
    sip_processes: int
    mi_workers: int
    readers: int

    @property
    def runtime_folder(self) -> Path:
        """Where the server keeps its sockets and what its processes share."""
        return self.folder / "run"

    def start(self) -> Server:
        """Start the server; the caller enters it to have it stopped, and waits until it is ready."""
        script = self.write_script(1)
        run = ["run", str(script), "-R", str(self.runtime_folder), "--mi-workers-max", str(2 * self.mi_workers)]
        return Server([sys.executable, "-m", "runtime", *run], self.port)

    def write_script(self, version: int) -> Path:
        """Put that version of the script where the server looks for it, at once and not by halves."""
        script = self.folder / "layby.cfg"
        scratch = self.folder / "layby.cfg.new"
        scratch.write_text(self._script(version))
        scratch.replace(script)
        return script

    def _script(self, version: int) -> str:
        text = SCRIPT
        for key, value in {
            "version": version,
            "module": Path(__file__).parent / "soaking.py",
            "port": self.port,
            "uas_port": self.uas_port,
            "told_port": self.told_port,
            "http_port": self.http_port,
            "sip_processes": self.sip_processes,
            "mi_workers": self.mi_workers,
            "readers": self.readers,
        }.items():
            text = text.replace("{" + key + "}", str(value))
        return text


def shared_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one, as the server would choose it, and a path short enough for sockets."""
    return tempfile.TemporaryDirectory(prefix="soak", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
