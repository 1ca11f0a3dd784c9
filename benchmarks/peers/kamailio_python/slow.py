"""Some requests wait 50 ms in a way that blocks whoever runs it: "mi" here, "async" in an asynchronous worker."""

import time

import KSR

ASYNC = getattr(KSR, "async")  # a reserved word of Python


def mod_init():
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        user = KSR.pv.get("$rU")
        if user == "async":
            ASYNC.task_route("done")
            return 1
        if user == "mi":
            time.sleep(0.05)
        KSR.sl.sl_send_reply(200, "OK")
        return 1

    def done(self, msg):
        time.sleep(0.05)
        KSR.tm.t_reply(200, "OK")
        return 1
