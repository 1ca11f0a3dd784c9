"""The MI commands that list dialogs, all of them or page by page."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from mi_script.commands import Json, MiError, Params, command
from runtime.background import give_way
from runtime.clock import epoch_now, monotonic_now
from runtime.modules.base import RuntimeModule
from runtime.modules.texts import bytes_text, script_text
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import State

if TYPE_CHECKING:
    from runtime.dialogs.store import DialogStore

MAX_LISTED: Final = 20_000
"""Dialogs in one answer: about what one can hold."""
AT_ONCE: Final = 10
"""Dialogs that are worked on before others have their turn: some 0.2 ms."""
Listed: TypeAlias = "Json | Awaitable[Json]"
"""An answer, at once or later."""
_LIST: Final = ((), ("callid",), ("callid", "from_tag"), ("index", "counter"))


class DialogLists(RuntimeModule):
    """The commands, for the module to inherit.

    Attributes:
        store: the dialogs of all processes.
    """

    store: DialogStore

    @command("dlg_list", *_LIST, idempotent=True, cost="quick", aliases=("dialog:list",), positional=_LIST[2])
    def dlg_list(self, params: Params) -> Listed:
        """List dialogs: all, those from `index` on, `counter` of them, or that of a Call-ID and a From tag.

        They are in the order of `db_id`, which never changes, and the count and the page are of one moment. Who reads
        them page by page, from index 0 on, sees each one once that was there all the time, whatever ended or began
        meanwhile; of several who read at once, by the same numbers, some may see one again, and none misses one.
        """
        return self._list(params, with_context=False)

    @command("dlg_list_ctx", *_LIST, idempotent=True, cost="quick", aliases=("dialog:list_ctx",), positional=_LIST[2])
    def dlg_list_ctx(self, params: Params) -> Listed:
        """List dialogs as dlg_list does, with their values and profiles."""
        return self._list(params, with_context=True)

    def _list(self, params: Params, with_context: bool) -> Listed:
        if "callid" in params:
            tag = params.text("from_tag", None)
            found = [one for one in self.of_call(params.text("callid")) if tag in (None, script_text(one.caller.tag))]
            if not found:
                raise MiError(404, "No such dialog")
            return {"Dialog": self.described(found[0], with_context)}
        if "index" in params:
            return self._page(params.integer("index"), params.integer("counter"), with_context)
        return self.listed({}, self.store.alive(), with_context)

    def _page(self, index: int, counter: int, with_context: bool) -> Listed:
        if index < 0 or counter < 0:
            raise MiError(400, "Bad parameter value", "index and counter are numbers from 0 on")
        now = monotonic_now()
        after = self.store.places.after(index, now)
        page = self.store.page(min(counter, MAX_LISTED + 1), index=index, after=after)
        last = page.dialogs[-1].id if page.dialogs else after
        if last is not None and counter:
            self.store.places.turn(index, index + counter, last, page.more, now)
        # Where dialogs of earlier pages have ended since, this reading has more to come than their number says.
        count = max(page.total, index + len(page.dialogs) + page.more) if page.dialogs else page.total
        return self.listed({"count": count}, iter(page.dialogs), with_context)

    def listed(self, head: dict[str, Json], dialogs: Iterator[Dialog], with_context: bool = False) -> Listed:
        """Dialogs as dlg_list shows them behind `head`: at once where they are few, else some in each turn of the loop.

        Raises:
            MiError: they are too many for one answer.
        """
        some = self._some(dialogs, with_context)
        if len(some) < AT_ONCE:
            return {**head, "Dialogs": some}
        return self._listed_later(head, some, dialogs, with_context)

    async def _listed_later(
        self, head: dict[str, Json], shown: list[Json], dialogs: Iterator[Dialog], with_context: bool
    ) -> Json:
        while some := self._some(dialogs, with_context):
            shown += some
            if len(shown) > MAX_LISTED:
                raise MiError(400, "Too many dialogs", f"more than {MAX_LISTED}: ask with index and counter")
            give_way()
            await asyncio.sleep(0)
        return {**head, "Dialogs": shown}

    def _some(self, dialogs: Iterator[Dialog], with_context: bool) -> list[Json]:
        return [self.described(dialog, with_context) for dialog in itertools.islice(dialogs, AT_ONCE)]

    def described(self, dialog: Dialog, with_context: bool) -> Json:
        """A dialog as dlg_list shows it; with its context, as dlg_list_ctx does."""
        caller, callee = dialog.caller, dialog.callee
        shown: dict[str, Json] = {
            "ID": dialog.did,
            "db_id": dialog.id,
            "state": int(dialog.state),
            "user_flags": " ".join(dialog.script_flags),
            **_times(dialog),
            "callid": script_text(dialog.call_id),
            "from_uri": script_text(caller.uri),
            "to_uri": script_text(callee.uri),
            "caller_tag": script_text(caller.tag),
            "caller_contact": script_text(caller.contact),
            "callee_cseq": str(max(callee.cseq, 0)),
            "caller_route_set": script_text(",".join(caller.routes)),
            "caller_bind_addr": self._address(caller.socket),
            "CALLEES": [],
        }
        if callee.tag:
            shown["CALLEES"] = [
                {
                    "callee_tag": script_text(callee.tag),
                    "callee_contact": script_text(callee.contact),
                    "caller_cseq": str(caller.cseq),
                    "callee_route_set": script_text(",".join(callee.routes)),
                    "callee_bind_addr": self._address(callee.socket),
                }
            ]
        if with_context:
            shown["context"] = {
                "values": [{script_text(name): _value(value)} for name, value in dialog.values.items()],
                "profiles": [{script_text(name): script_text(value)} for name, value in dialog.profiles],
            }
        return shown

    def _address(self, socket: int) -> str:
        sockets = self.house.sockets
        return str(sockets[socket].listen) if socket < len(sockets) else ""

    def of_call(self, call_id: str) -> list[Dialog]:
        """The dialogs of a Call-ID that are not over."""
        return [one for one in self.store.of_call(bytes_text(call_id)) if one.state != State.DELETED]


def _times(dialog: Dialog) -> dict[str, Json]:
    if not dialog.started:
        return {"timestart": 0, "timeout": 0}
    ends = int(epoch_now() + dialog.ends_at - monotonic_now())
    started = int(dialog.started)
    return {"timestart": started, "datestart": time.ctime(started), "timeout": ends, "dateout": time.ctime(ends)}


def _value(value: str | int) -> Json:
    return script_text(value) if isinstance(value, str) else value
