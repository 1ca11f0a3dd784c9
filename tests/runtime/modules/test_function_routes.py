"""In which routes each function may be called: at least in those that OpenSIPS's documentation gives it.

More where it works as well here, but never where it could do nothing.
"""

from __future__ import annotations

import pytest

from runtime.context import RouteType
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.known import known_of

KNOWN = known_of([*ALWAYS.values(), *CATALOG.values()]).functions

REQUEST, FAILURE, BRANCH, ONREPLY, LOCAL, ERROR, TIMER = (
    RouteType.REQUEST,
    RouteType.FAILURE,
    RouteType.BRANCH,
    RouteType.ONREPLY,
    RouteType.LOCAL,
    RouteType.ERROR,
    RouteType.TIMER,
)
MESSAGE = REQUEST | FAILURE | BRANCH | ONREPLY | LOCAL

IN_OPENSIPS = {
    # Core functions
    **dict.fromkeys(("setflag", "resetflag", "isflagset", "setbflag", "resetbflag", "isbflagset"), RouteType.ANY),
    **dict.fromkeys(("seturi", "setuser", "sethost", "setport", "prefix", "strip", "strip_tail"), RouteType.ANY),
    **dict.fromkeys(("revert_uri", "setdsturi", "resetdsturi", "isdsturiset", "force_rport"), RouteType.ANY),
    **dict.fromkeys(("append_msg_branch", "remove_msg_branch", "pv_printf", "get_timestamp"), RouteType.ANY),
    **dict.fromkeys(
        ("is_myself", "raise_event", "subscribe_event", "cache_store", "cache_fetch", "cache_remove"), RouteType.ANY
    ),
    # sipmsgops
    **dict.fromkeys(("append_hf", "remove_hf", "is_present_hf", "is_method", "has_totag"), MESSAGE),
    "append_to_reply": REQUEST | FAILURE | BRANCH | ERROR,
    # sl, signaling
    "sl_send_reply": REQUEST | ERROR,
    "sl_reply_error": REQUEST,
    "send_reply": REQUEST | ERROR | FAILURE,
    # tm
    "t_newtran": REQUEST,
    "t_reply": REQUEST | FAILURE,
    "t_relay": REQUEST | FAILURE,
    "t_on_failure": MESSAGE,
    "t_on_reply": MESSAGE,
    "t_on_branch": REQUEST | FAILURE | ONREPLY | BRANCH,
    "t_check_status": REQUEST | FAILURE | ONREPLY | BRANCH,
    "t_local_replied": REQUEST | FAILURE | ONREPLY | BRANCH,
    "t_was_cancelled": REQUEST | FAILURE | ONREPLY | BRANCH,
    "t_check_trans": REQUEST | BRANCH,
    "t_cancel_branch": ONREPLY,
    "t_new_request": MESSAGE,
    # rr, path, maxfwd
    "loose_route": REQUEST,
    "record_route": REQUEST | BRANCH | FAILURE,
    "record_route_preset": REQUEST | BRANCH | FAILURE,
    "add_rr_param": REQUEST | BRANCH | FAILURE,
    "check_route_param": REQUEST,
    "is_direction": REQUEST,
    "add_path": REQUEST,
    "add_path_received": REQUEST,
    "mf_process_maxfwd_header": REQUEST,
    "is_maxfwd_lt": REQUEST | FAILURE | BRANCH,
    # registrar; save() of a reply's contacts is not offered
    "save": REQUEST,
    "remove": REQUEST | ONREPLY,
    "lookup": REQUEST | ONREPLY | FAILURE,
    **dict.fromkeys(("is_registered", "registered", "is_contact_registered", "is_ip_registered"), MESSAGE),
    "add_sock_hdr": MESSAGE,
    # dialog
    **dict.fromkeys(("create_dialog", "match_dialog", "validate_dialog", "fix_route_dialog"), REQUEST),
    **dict.fromkeys(("set_dlg_flag", "reset_dlg_flag", "is_dlg_flag_set", "test_and_set_dlg_flag"), MESSAGE),
    **dict.fromkeys(("store_dlg_value", "fetch_dlg_value"), MESSAGE),
    **dict.fromkeys(("set_dlg_profile", "unset_dlg_profile", "is_in_profile"), REQUEST | FAILURE | ONREPLY | BRANCH),
    **dict.fromkeys(("dlg_on_answer", "dlg_on_timeout", "dlg_on_hangup"), REQUEST | FAILURE | ONREPLY | BRANCH),
    **dict.fromkeys(("get_dialog_info", "get_dialog_vals", "get_dialogs_by_val"), RouteType.ANY),
    **dict.fromkeys(("get_dialogs_by_profile", "load_dialog_ctx", "unload_dialog_ctx"), RouteType.ANY),
    "dlg_send_sequential": RouteType.ANY,
    # acc; of a local_route's requests nothing is recorded when they end
    **dict.fromkeys(("acc_log_request", "acc_db_request", "acc_evi_request"), REQUEST | FAILURE | BRANCH | LOCAL),
    **dict.fromkeys(("do_accounting", "drop_accounting"), REQUEST | FAILURE | BRANCH),
    # mi_script
    "mi": RouteType.ANY,
}


@pytest.mark.parametrize("name", IN_OPENSIPS)
def test_a_function_may_stand_wherever_it_may_in_opensips(name: str) -> None:
    assert IN_OPENSIPS[name] & ~KNOWN[name].routes == RouteType(0)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("t_relay", BRANCH | ONREPLY | LOCAL | ERROR | TIMER),
        ("t_newtran", FAILURE | BRANCH | ONREPLY | TIMER),
        ("t_reply", BRANCH | LOCAL | TIMER),
        ("t_check_trans", FAILURE | ONREPLY | LOCAL | TIMER),
        ("t_on_branch", LOCAL | TIMER),
        ("t_check_status", LOCAL | TIMER),
        ("t_local_replied", LOCAL | TIMER),
        ("t_was_cancelled", LOCAL | TIMER),
        ("t_cancel_branch", REQUEST | FAILURE | BRANCH),
        ("send_reply", LOCAL | TIMER),
        ("sl_send_reply", LOCAL | TIMER),
        ("sl_reply_error", LOCAL | TIMER),
        ("append_to_reply", LOCAL | TIMER),
        ("append_hf", ERROR | TIMER),
        ("remove_hf", ERROR | TIMER),
        ("is_method", TIMER),
        ("has_totag", TIMER),
        ("is_present_hf", TIMER),
        ("lookup", BRANCH | LOCAL | TIMER),
        ("save", FAILURE | BRANCH | ONREPLY | TIMER),
        ("is_maxfwd_lt", ONREPLY | LOCAL | TIMER),
        ("check_route_param", FAILURE | ONREPLY | TIMER),
        ("is_direction", FAILURE | ONREPLY | TIMER),
        ("dlg_on_answer", LOCAL | TIMER),
    ],
)
def test_a_function_may_not_stand_where_it_could_do_nothing(name: str, refused: RouteType) -> None:
    assert refused & KNOWN[name].routes == RouteType(0)
