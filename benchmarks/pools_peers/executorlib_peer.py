"""executorlib.SingleNodeExecutor with processes that stay (block allocation)."""

from __future__ import annotations

from executorlib import SingleNodeExecutor
from executorlib.standalone.interactive.communication import SocketInterface

from pools_peers.adapter import WORKERS, FuturesPeer


def _bind_on_loopback(self: SocketInterface) -> int:
    port: int = self._socket.bind_to_random_port("tcp://127.0.0.1")
    return port


# It binds every interface and unpickles what comes, with no option against it. Nothing here listens to the network.
SocketInterface.bind_to_random_port = _bind_on_loopback


class ExecutorLib(FuturesPeer):
    def open(self) -> None:
        self.pool = SingleNodeExecutor(max_workers=WORKERS, block_allocation=True, hostname_localhost=True)

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
