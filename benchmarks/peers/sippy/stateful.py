"""OPTIONS answered through a transaction, by sippy: one process, since it has one loop and no more.

python stateful.py PORT
"""

import sys

from sippy.Core.EventDispatcher import ED2
from sippy.SipTransactionManager import SipTransactionManager


class Silent:
    """In place of its log of every message, as the other servers have none either."""

    def write(self, *words, **more):
        pass


def answer(request, transaction):
    return request.genResponse(200, "OK"), None, None


settings = {"_sip_address": "127.0.0.1", "_sip_port": int(sys.argv[1]), "_sip_logger": Silent()}
settings["_sip_tm"] = SipTransactionManager(settings, answer)
ED2.loop()
