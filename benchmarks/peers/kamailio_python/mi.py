"""A quick command on every request, run where the script runs."""

import KSR

UPTIME = '{"jsonrpc": "2.0", "method": "core.uptime", "id": 1}'


def mod_init():
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        if KSR.jsonrpcs.exec(UPTIME) > 0 and KSR.pv.get("$jsonrpl(code)") == 200:
            KSR.sl.sl_send_reply(200, "OK")
        else:
            KSR.sl.sl_send_reply(500, "Command Failed")
        return 1
