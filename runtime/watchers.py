"""Who looks on while requests are relayed: modules that keep something of their own about a call, as dialog does."""

from __future__ import annotations

from runtime.context import Context
from runtime.sip.message import Reply


class TransactionWatcher:
    """Told of what the proxy does, in the process that does it. A watcher overrides what it wants to hear.

    It registers with ``process.watchers.append(self)`` when it enters a process. Nothing of it may raise or wait.
    """

    def began(self, c: Context) -> None:
        """A request has got a server transaction, `Context.transaction`."""

    def relaying(self, c: Context) -> None:
        """A request with a transaction is about to be relayed, before its branches are built.

        It may change the context, e.g. add a parameter to `Context.record_route`, but not where the request goes.
        """

    def reply_relayed(self, c: Context, reply: Reply, status: int) -> None:
        """A reply of a branch goes upstream now; `c` is the request's context."""

    def failed(self, c: Context, reply: Reply | None, status: int) -> None:
        """No branch has taken a request, and the failure route runs next; `reply` is the best, if one came."""

    def answered(self, key: str, status: int, reason: str) -> None:
        """The script, or the process for it, gives a final reply of its own now; `key` is the server transaction's."""

    def cancelled(self, key: str) -> None:
        """The CANCEL of an INVITE has come; `key` is the INVITE's server transaction's."""

    def over(self, key: str) -> None:
        """A server transaction has ended."""

    def replied_locally(self, c: Context, status: int) -> None:
        """A relayed request has had a final reply of our own making; `c` is its context."""

    def ack_relayed(self, c: Context) -> None:
        """An ACK from end to end is about to be relayed."""
