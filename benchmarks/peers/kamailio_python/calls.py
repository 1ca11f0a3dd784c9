"""Calls proxied with Record-Route, and their later requests by the route set."""

import KSR


def mod_init():
    return Routes()


class Routes:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
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
