"""An example of every MI command, with the way that it ends on a server that has all modules and little to do.

Whoever adds a command adds it here: `test_real_clients.py` calls all of them over every transport, and fails for one
that is not here. The examples of a command follow each other, so one may lay the ground for the next.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Params: TypeAlias = list[Any] | dict[str, Any]
End: TypeAlias = str | int | set[str] | type
"""How it ends: a result that is this text; an error with this code; an object with these keys; a value of this type."""

FROM_TO: Final = "From: <sip:us@here>\r\nTo: <sip:you@there>\r\n"
_NO_DIALOG: Final = "999.888"
_DIALOGS: Final[list[tuple[Params, End]]] = [
    ({}, {"Dialogs"}),
    ({"index": 0, "counter": 10}, {"count", "Dialogs"}),
    ({"index": "0", "counter": "2"}, {"count", "Dialogs"}),
    ({"callid": "none"}, 404),
    ({"callid": "none", "from_tag": "x"}, 404),
]

EXAMPLES: Final[dict[str, list[tuple[Params, End]]]] = {
    "arg": [([], list)],
    "bench_sleep": [([1], {"slept_ms"}), (["x"], -32602), ([-1], 400)],
    "bench_wait": [([1], {"waited_ms"}), ({"ms": 1}, {"waited_ms"})],
    "cache_store": [
        (["local", "k", "v ä"], "OK"),
        ({"system": "local", "attr": "other", "value": 7, "expire": 60}, "OK"),
        (["redis", "k", "v"], 500),
    ],
    "cache_fetch": [(["local", "k"], {"key", "value"}), (["local", "none"], 400), (["redis", "k"], 500)],
    "cache_fetch_chunk": [(["nosuch*"], {"keys"})],
    "cache_remove": [(["local", "k"], "OK"), ({"system": "local", "attr": "other"}, "OK")],
    "cache_remove_chunk": [(["nosuch*"], "OK")],
    "check_config_hash": [([], 404)],  # nobody said what to make it of
    "command_list": [([], {"Commands"}), (["ps"], dict), (["nosuch"], 404)],
    "dlg_db_sync": [([], 400)],
    "dlg_end_dlg": [([_NO_DIALOG], 404), ({"dialog_id": _NO_DIALOG, "extra_hdrs": "X: y\r\n"}, 404)],
    "dlg_list": _DIALOGS,
    "dlg_list_ctx": _DIALOGS,
    "dlg_push_var": [(["name", "value", [_NO_DIALOG]], 404)],
    "dlg_restore_db": [([], 400)],
    "dlg_send_sequential": [({"callid": "none", "method": "INFO"}, 404), (["none"], -32602)],
    "dr_carrier_status": [({}, {"Carriers"}), ({"carrier_id": "nosuch"}, 404)],
    "dr_enable_probing": [([], dict), ([1], "OK")],
    "dr_gw_status": [({}, {"Gateways"}), ({"gw_id": "nosuch"}, 404), (["gw"], -32602)],
    "dr_number_routing": [({"number": "123"}, "No match")],
    "dr_reload": [([], "OK"), (["Default"], "OK"), (["nosuch"], 404), ({"inherit_state": "0"}, "OK")],
    "dr_reload_status": [([], {"Date"}), (["nosuch"], 404)],
    "ds_list": [([], {"PARTITIONS"}), ({"full": 1}, {"PARTITIONS"})],
    "ds_push_script_attrs": [(["attrs", "127.0.0.1", "9", "1"], 404)],
    "ds_reload": [([], "OK"), (["nosuch"], 500)],
    "ds_set_state": [(["a", "1", "sip:127.0.0.1:9"], 404), (["x", "1", "sip:127.0.0.1:9"], 500)],
    "event_subscribe": [
        (["E_EXAMPLE", "udp:127.0.0.1:9", 10], "OK"),
        (["E_EXAMPLE", "udp:127.0.0.1:9", 0], "OK"),
        (["E_EXAMPLE", "nonsense"], 400),
    ],
    "events_list": [([], {"Events"})],
    "get_config_hash": [([], 404)],
    "get_statistics": [([["rcv_requests", "shmem:"]], {"core:rcv_requests", "shmem:used_size"}), (["all"], -32602)],
    "help": [([], str), (["ps"], {"Help", "Exported by"}), (["nosuch"], 404)],
    "httpd_list_root_path": [([], list)],
    "job_cancel": [(["sip-1.1.999999"], 404), (["nonsense", "a reason"], 400)],
    "job_list": [([], {"Jobs", "Silent"})],
    "kill": [],  # ends the server, so it has a test of its own
    "list_all_profiles": [([], {"Profiles"})],
    "list_statistics": [([["core:"]], {"core:rcv_requests"})],
    "list_tcp_conns": [([], type(None))],
    "log_level": [([], {"Processes"}), ([3], {"New global log level"}), ([3, 1], -32602)],
    "log_level_filter": [(["stderror"], dict), (["nosuch"], 404)],
    "log_mute_state": [(["stderror"], dict), (["nosuch"], 404)],
    "mem_pkg_dump": [([1], 404)],
    "mem_rpm_dump": [([], 404)],
    "mem_shm_dump": [([], {"Parts"})],
    "profile_end_dlgs": [(["caller", "nobody"], "OK"), (["nosuch"], 404)],
    "profile_get_size": [(["caller"], {"Profile"}), (["caller", "nobody"], {"Profile"}), (["nosuch"], 404)],
    "profile_get_values": [(["caller"], list), (["nosuch"], 404)],
    "profile_list_dlgs": [(["caller"], {"Dialogs"}), (["nosuch"], 404)],
    "ps": [([], {"Processes"})],
    "pwd": [([], {"WD"})],
    "raise_event": [(["E_EXAMPLE", ["a", "b"]], "OK"), (["E_EXAMPLE", '{"n":7}'], "OK"), (["E_NONE"], 404)],
    "rand_get_prob": [([], dict)],
    "rand_reset_prob": [([], "OK")],
    "rand_set_prob": [([20], "OK"), (["101"], 400)],
    "reload_routes": [([], "OK")],
    "reset_all_statistics": [([], "OK")],
    "reset_statistics": [([["core:bad_messages"]], "OK"), ([["nosuch"]], 404)],
    "set_dlg_profile": [([_NO_DIALOG, "caller", "me"], 404)],
    "shm_check": [([], dict)],
    "shv_get": [([], list), (["nosuch"], 404)],
    "shv_set": [(["example", "int", "7"], "OK"), (["example", "int", "x"], 500)],
    "sr_get_status": [(["core"], dict), (["nosuch"], 404)],
    "sr_list_identifiers": [([], list), (["core"], dict), (["nosuch"], 404)],
    "sr_list_reports": [([], list), (["core"], list), (["nosuch"], 404)],
    "sr_list_status": [([], list), (["core"], list), (["nosuch"], 404)],
    "subscribers_list": [([], {"Events"}), (["E_EXAMPLE"], {"Event"}), (["E_NONE"], 404)],
    "t_hash": [([], list)],
    "t_reply": [([200, "OK", "1:2", "tag"], 404), ([99, "OK", "1:2", "tag"], 400)],
    "t_uac_cancel": [(["nosuch", "1"], 481)],
    "t_uac_dlg": [
        ({"method": "OPTIONS", "ruri": "sip:x@127.0.0.1:SIP_PORT", "headers": FROM_TO}, {"Status", "Message"}),
        ({"method": "OPTIONS", "ruri": "no URI", "headers": FROM_TO}, 400),
        (["OPTIONS", "sip:x@127.0.0.1:SIP_PORT", FROM_TO], -32602),
    ],
    "ul_add": [(["location", "bob", "sip:bob@127.0.0.1:9", 60, "0.5", 0, 0, 0], "OK")],
    "ul_dump": [([], {"Domains"}), (["brief"], {"Domains"})],
    "ul_flush": [([], 400)],
    "ul_rm": [(["location", "nobody"], 404), (["nosuch", "bob"], 404)],
    "ul_rm_contact": [(["location", "nobody", "sip:x@y"], 404)],
    "ul_show_contact": [(["location", "bob"], {"AOR", "Contacts"}), (["location", "nobody"], 404)],
    "ul_sync": [(["location"], 400), (["location", "bob"], 400)],
    "unset_dlg_profile": [([_NO_DIALOG, "caller", "me"], 404)],
    "uptime": [([], {"Now", "Up since", "Up time"}), (["x"], -32602)],
    "version": [([], {"Server"})],
    "timeline_start": [({"seconds": 5}, {"Id"}), ([], 480), (["x"], 480)],
    "timeline_stop": [([], {"Id", "Files"})],
    "timeline_read": [({"file": "nosuch", "start": 0, "length": 9}, 404), (["order", -1], 400)],
    "timeline_forget": [([], "OK")],
    "which": [([], list), (["dlg_list"], list), (["nosuch"], 404)],
    "worker_list": [([], {"Workers"})],
    "xlog_level": [([], {"xLog Level"}), ([2], {"New xLog level"}), ([99], 400)],
}
