"""What a SIP process sees of transactions that are accounted, and has recorded of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.acc.accounts import Account, Backend, Parties, Wants, put_extra
from runtime.acc.calls import Calls
from runtime.acc.records import Cdr, Record, Subject, record_of
from runtime.clock import epoch_now
from runtime.context import Context
from runtime.server_transactions import to_tag
from runtime.sip.message import Reply, Request
from runtime.sip.reasons import reason_of
from runtime.sip.routing import is_upstream
from runtime.watchers import TransactionWatcher

_CANCEL_REASON: Final = "canceling"


class Accountant(TransactionWatcher):
    """See the module.

    Args:
        tell: has a record put where it belongs: the backends, and the database's table.
        lives: whether a server transaction is there, by its key.
        calls: those that are recorded when they end; None without the module dialog.
        early_media: whether provisional replies with a body are recorded.
        cancels: whether CANCELs are. They never come as far as the script, and are recorded as their INVITEs are.
        direction: whether a request of the callee's is recorded with From and To as the caller had them.
    """

    def __init__(
        self,
        tell: Callable[[Record, list[Backend], str], None],
        lives: Callable[[str], bool],
        calls: Calls | None,
        *,
        early_media: bool,
        cancels: bool,
        direction: bool,
    ) -> None:
        self._tell = tell
        self._lives = lives
        self._calls = calls
        self._early_media = early_media
        self._cancels = cancels
        self._direction = direction
        self._accounts: dict[str, Account] = {}
        """By the keys of their transactions."""

    # What the script says.

    def find(self, c: Context) -> Account | None:
        """The account of the context's transaction, or of its message while it has none."""
        return self._accounts.get(c.transaction or "", c.accounting)

    def open(self, c: Context) -> Account:
        """`find`, made where there is none."""
        account = self.find(c)
        if account is None:
            account = c.accounting = Account(epoch_now())
            if c.transaction is not None and self._lives(c.transaction):
                self.began(c)
        return account

    def put_extra(self, c: Context, tag: str, value: str | int | None) -> None:
        """`$acc_extra(tag) = value`: of the transaction, or where it has no account of its call."""
        if c.dialog is not None and self._calls is not None and self.find(c) is None and self._calls.find(c.dialog):
            self._calls.put_extra(c.dialog, tag, value)
        else:
            put_extra(self.open(c).extra, tag, value)

    def get_extra(self, c: Context, tag: str) -> str | int | None:
        """`$acc_extra(tag)`; None where it is not set."""
        account = self.find(c)
        if account is not None:
            return account.extra.get(tag)
        cdr = None if self._calls is None else self._calls.find(c.dialog)
        return None if cdr is None else cdr.extra.get(tag)

    def parties(self, c: Context) -> Parties:
        """Whose message it is."""
        message = c.message
        from_tag, tag = message.from_.tag or "", message.to.tag or ""
        if not isinstance(message, Request):
            return Parties(message.cseq_method, from_tag, tag, message.call_id)
        local = "" if tag else to_tag(message)
        if self._direction and tag and is_upstream(c.own_route, from_tag):
            from_tag, tag = tag, from_tag
        return Parties(message.method, from_tag, tag, message.call_id, local)

    # What passes by (`TransactionWatcher`).

    def began(self, c: Context) -> None:
        if c.accounting is not None and c.transaction is not None:
            c.accounting.parties = self.parties(c.request or c)  # of a reply, its request's
            self._accounts[c.transaction] = c.accounting

    def reply_relayed(self, c: Context, reply: Reply, status: int) -> None:
        account = self._accounts.get(c.transaction or "")
        if account is None:
            return
        tag = reply.to.tag or ""
        reason = reply.reason if reply.status == status else reason_of(status)
        if status < 200:
            if self._early_media and reply.body:
                self._record(Subject.ANSWERED, account, account.early(), status, reason, tag)
        elif status < 300:
            if not account.is_answered and not self._keep_call(c, account, status, reason):
                account.drop(None, Wants.CDR)
            self._record(Subject.ANSWERED, account, account.answered(tag), status, reason, tag)
        else:
            self._record(Subject.ANSWERED, account, account.refused(), status, reason, tag)

    def _keep_call(self, c: Context, account: Account, status: int, reason: str) -> bool:
        """Have the call recorded when it ends; False where nothing can be kept of it until then."""
        wanted = account.where(Wants.CDR)
        if not wanted:
            return True
        cdr = Cdr(wanted, account.table, status, reason, account.extra)
        return c.dialog is not None and self._calls is not None and self._calls.keep(c.dialog, cdr)

    def failed(self, c: Context, reply: Reply | None, status: int) -> None:
        account = self._accounts.get(c.transaction or "")
        if account is not None:
            reason = reason_of(status) if reply is None else reply.reason
            tag = "" if reply is None else reply.to.tag or ""
            self._record(Subject.MISSED, account, account.missed(), status, reason, tag)

    def answered(self, key: str, status: int, reason: str) -> None:
        account = self._accounts.get(key)
        if account is None or account.parties is None:
            return
        tag = account.parties.local_tag
        if status < 300:
            account.drop(None, Wants.CDR)  # a call of this server's own has no dialog that it is seen to end by
            self._record(Subject.ANSWERED, account, account.answered(tag), status, reason, tag)
            return
        self._record(Subject.MISSED, account, account.missed(), status, reason, tag)
        self._record(Subject.ANSWERED, account, account.refused(), status, reason, tag)

    def replied_locally(self, c: Context, status: int) -> None:
        self.answered(c.transaction or "", status, reason_of(status))

    def cancelled(self, key: str) -> None:
        account = self._accounts.get(key)
        if self._cancels and account is not None and account.parties is not None:
            parties = account.parties._replace(method="CANCEL")
            record = record_of(Subject.ANSWERED, parties, 200, _CANCEL_REASON, epoch_now(), parties.local_tag, account)
            self._tell(record, account.cancelled(), account.table)

    def over(self, key: str) -> None:
        self._accounts.pop(key, None)

    def _record(
        self, subject: Subject, account: Account, where: list[Backend], status: int, reason: str, tag: str
    ) -> None:
        if where and account.parties is not None:
            record = record_of(subject, account.parties, status, reason, epoch_now(), tag, account)
            self._tell(record, where, account.table)
