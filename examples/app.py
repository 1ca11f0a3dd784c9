"""`proxy.cfg` in Python: phones register and call each other, and a management command on the way stops nobody.

    layby run examples/app.py -l udp:127.0.0.1:5060 -l tcp:127.0.0.1:5060

Calls to a user who is not registered go to voicemail@127.0.0.1:5090, as do calls that nobody answers.
"""

from __future__ import annotations

from runtime.pyscript import Call, module, route, server

# Global parameters

server(log_level=3, udp_workers=4, mi_workers=4, socket=["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"])

# Modules

module("proto_udp")
module("proto_tcp")
module("signaling")
module("sl")
module("tm", fr_timeout=5, fr_inv_timeout=30)  # a gateway that says nothing, and a phone that rings, for so long
module("rr")
module("maxfwd")
module("sipmsgops")
module("cachedb_local")
module("usrloc")  # in memory; with db_mode=1 and a db_url also in a database
module("registrar", max_contacts=5)
module("dialog", default_timeout=7200, profiles_with_value="caller")
module("mi_script")
module("httpd", ip="127.0.0.1", port=8888)  # layby mi --http http://127.0.0.1:8888/mi dlg_list
module("mi_http")

MOST_CALLS = 3
VOICEMAIL = "sip:voicemail@127.0.0.1:5090"

# Routing


@route.request
async def main(call: Call) -> None:
    if not call.mf_process_maxfwd_header(10):
        call.sl_send_reply(483, "Too Many Hops")
    elif call.has_totag():
        within_dialog(call)
    elif call.is_method("CANCEL"):
        call.t_relay()  # it is matched to its INVITE before the script sees it; one that comes so far has lost it
    elif call.is_method("REGISTER"):
        call.save("location")  # it answers, also where it refuses
    elif call.is_method("OPTIONS") and call.is_myself(call["$rd"]) and call.ruri_user is None:
        call.sl_send_reply(200, "OK")
    elif call.is_method("INVITE"):
        await start_call(call)
    else:
        deliver(call)


def within_dialog(call: Call) -> None:
    """Within a dialog: along the route that was recorded at its start."""
    if call.loose_route():
        relay(call)
    elif not call.is_method("ACK"):
        call.sl_send_reply(404, "Not Here")
    elif call.t_check_trans():
        call.t_relay()


async def start_call(call: Call) -> None:
    call.record_route()
    call.create_dialog("B")
    call.set_dlg_profile("caller", call.from_user)

    # How many calls this caller has is asked of the management interface. The message is put aside meanwhile, and this
    # process serves others.
    rc, answer = await call.mi("profile_get_size", profile="caller", value=call.from_user, timeout_s=2)
    if not rc:
        call.xlog("L_WARN", f"[{call.call_id}] the caller's calls could not be counted ({rc}): {answer}")
    elif answer["Profile"]["count"] > MOST_CALLS:
        call.t_reply(486, "Too Many Calls")
        return
    deliver(call)


def deliver(call: Call) -> None:
    if not call.lookup("location"):
        voicemail(call)
        return
    call.t_on_failure("missed")
    relay(call)


def voicemail(call: Call) -> None:
    call.ruri = VOICEMAIL
    call.t_on_failure("no_voicemail")
    relay(call)


def relay(call: Call) -> None:
    call.t_on_reply("answers")
    if not call.t_relay():
        call.sl_reply_error()


@route.reply("answers")
def answers(call: Call) -> None:
    if call.is_method("INVITE") and call.status is not None and 200 <= call.status < 300:
        call.xlog("L_INFO", f"[{call.call_id}] answered with {call.status}")


@route.failure("missed")
def missed(call: Call) -> None:
    if call.t_was_cancelled():
        return
    if call.t_check_status("486|408|480"):
        # Who could not be reached is told by a command that need not be waited for.
        call.launch(call.mi("cache_store", "local", f"missed_{call['$oU']}", call.from_user))
        voicemail(call)


@route.failure("no_voicemail")
def no_voicemail(call: Call) -> None:
    if not call.t_was_cancelled():
        call.t_reply(480, "Temporarily Unavailable")
