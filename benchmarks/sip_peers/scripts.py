"""The same two jobs written for each server: answer OPTIONS through a transaction; proxy calls and stay in their path.

Every text has `{port}` (where the server listens), `{uas_port}` (where calls go) and `{processes}`; they are put in
with `str.replace`, since all three languages use braces.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Job: TypeAlias = Literal["options", "calls"]
JOBS: Final[tuple[Job, ...]] = ("options", "calls")

LAYBY: Final[dict[Job, str]] = {
    "options": """
log_level=1
udp_workers={processes}
socket=udp:127.0.0.1:{port}
loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
route {
    t_newtran();
    t_reply(200, "OK");
}
""",
    "calls": """
log_level=1
udp_workers={processes}
socket=udp:127.0.0.1:{port}
loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sipmsgops.so"
route {
    if (is_method("OPTIONS")) {
        t_newtran();
        t_reply(200, "OK");
        exit;
    }
    if (!mf_process_maxfwd_header(70)) {
        sl_send_reply(483, "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans())
            t_relay();
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
    if (is_method("INVITE"))
        record_route();
    $du = "sip:127.0.0.1:{uas_port}";
    if (!t_relay())
        sl_reply_error();
}
""",
}

_KAMAILIO_HEAD: Final = """#!KAMAILIO
debug=0
log_stderror=yes
children={processes}
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
listen=udp:127.0.0.1:{port}
loadmodule "pv.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
"""

KAMAILIO: Final[dict[Job, str]] = {
    "options": _KAMAILIO_HEAD
    + """
request_route {
    t_newtran();
    t_reply("200", "OK");
}
""",
    "calls": _KAMAILIO_HEAD
    + """
request_route {
    if (is_method("OPTIONS")) {
        t_newtran();
        t_reply("200", "OK");
        exit;
    }
    if (!mf_process_maxfwd_header("70")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) t_relay();
        else if (!is_method("ACK")) sl_send_reply("404", "Not Here");
        else if (t_check_trans()) t_relay();
        exit;
    }
    if (is_method("INVITE")) record_route();
    $du = "sip:127.0.0.1:{uas_port}";
    if (!t_relay()) sl_reply_error();
}
""",
}

KAMAILIO_WITH_PYTHON: Final = (
    _KAMAILIO_HEAD
    + """
loadmodule "app_python3.so"
modparam("app_python3", "load", "{routes}")
kemi.onsend_route_callback="none"
kemi.reply_route_callback="none"
kemi.received_route_callback="none"
cfgengine "python"
"""
)
"""Beside the other places it has `{routes}`, the path of the Python file.

The native scripts have no route for what is sent and for replies either; one that is asked for and not there costs an
exception, which the next call from Python then stumbles over.
"""

_KEMI_HEAD: Final = """
import KSR


def mod_init():
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
"""

KEMI: Final[dict[Job, str]] = {
    "options": _KEMI_HEAD
    + """
        KSR.tm.t_newtran()
        KSR.tm.t_reply(200, "OK")
        return 1
""",
    "calls": _KEMI_HEAD
    + """
        if KSR.is_OPTIONS():
            KSR.tm.t_newtran()
            KSR.tm.t_reply(200, "OK")
            return 1
        if KSR.maxfwd.process_maxfwd(70) < 0:
            KSR.sl.sl_send_reply(483, "Too Many Hops")
            return 1
        if KSR.is_CANCEL():
            if KSR.tm.t_check_trans() > 0:
                KSR.tm.t_relay()
            return 1
        if KSR.siputils.has_totag() > 0:
            return self.in_dialog()
        if KSR.is_INVITE():
            KSR.rr.record_route()
        KSR.setdsturi("sip:127.0.0.1:{uas_port}")
        if KSR.tm.t_relay() < 0:
            KSR.sl.sl_reply_error()
        return 1

    def in_dialog(self):
        if KSR.rr.loose_route() > 0:
            KSR.tm.t_relay()
        elif not KSR.is_ACK():
            KSR.sl.sl_send_reply(404, "Not Here")
        elif KSR.tm.t_check_trans() > 0:
            KSR.tm.t_relay()
        return 1
""",
}
