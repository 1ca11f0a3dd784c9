"""Scripts in Python beside the cfg language: the same functions, variables and modules, and the same parking.

Example::

    from runtime.pyscript import Call, module, route, server

    server(socket="udp:127.0.0.1:5060")
    module("proto_udp")
    module("sl")
    module("mi_script")


    @route.request
    async def main(call: Call) -> None:
        rc, answer = await call.mi("ps")
        call.sl_send_reply(200 if rc else 500, "OK")

`await call.mi()` parks the message as `async(mi(), …)` does: this process serves others meanwhile.
"""

from runtime.pyscript.call import Call
from runtime.pyscript.registering import module, route, server
from runtime.pyscript.words import Answer, Cancelled, Drop, Exit, Rc

__all__ = ["Answer", "Call", "Cancelled", "Drop", "Exit", "Rc", "module", "route", "server"]
