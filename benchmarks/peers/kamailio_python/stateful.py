"""OPTIONS answered through a transaction."""

import KSR


def mod_init():
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        KSR.tm.t_newtran()
        KSR.tm.t_reply(200, "OK")
        return 1
