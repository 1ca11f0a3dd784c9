"""A quick command on every request, which is suspended and goes on in an asynchronous worker."""

import KSR

UPTIME = '{"jsonrpc": "2.0", "method": "core.uptime", "id": 1}'
ASYNC = getattr(KSR, "async")  # a reserved word of Python


def mod_init():
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        ASYNC.task_route("done")
        return 1

    def done(self, msg):
        if KSR.jsonrpcs.exec(UPTIME) > 0 and KSR.pv.get("$jsonrpl(code)") == 200:
            KSR.tm.t_reply(200, "OK")
        else:
            KSR.tm.t_reply(500, "Command Failed")
        return 1
