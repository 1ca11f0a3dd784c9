"""A quick command on every request, which does not wait for it: an asynchronous worker runs it, without the message."""

import KSR

UPTIME = '{"jsonrpc": "2.0", "method": "core.uptime", "id": 1}'
ASYNC = getattr(KSR, "async")  # a reserved word of Python


def mod_init():
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        ASYNC.task_data("run", "uptime")
        KSR.sl.sl_send_reply(200, "OK")
        return 1

    def run(self, msg):
        KSR.jsonrpcs.exec(UPTIME)
        return 1
