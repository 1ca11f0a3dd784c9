"""The event interface: `raise_event()`, `subscribe_event()`, and the MI commands over events and their subscribers.

Whatever is raised, by a script, a module or an outside program, goes one way: to the event route of that name, and to
those who subscribed. Subscribers are the same for all processes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.clock import epoch_now
from runtime.context import Context, RouteType, Value
from runtime.event_courier import Courier, Ledger
from runtime.modules.base import RuntimeModule
from runtime.roles import MI, SIP, WORKER, role_of
from runtime.runs import nothing_more
from runtime.script.declare import Event, Kind, Param, Ref, function
from runtime.store import StoreError
from runtime.subscribers import Newest, Subscribers
from runtime.subscriptions import (
    MAX_EXPIRE_S,
    MAX_NAME,
    NAME,
    Notice,
    Raised,
    Subscription,
    named_params,
    notice_of,
    raised_by,
    script_of,
    text_of,
)
from runtime.whereabouts import statement_on
from workers.jobs import Peer

if TYPE_CHECKING:
    from runtime.context import Address
    from runtime.house import House
    from runtime.process import Process
    from runtime.script.check import Checked
    from runtime.script_process import ScriptProcess
    from runtime.sip_process import SipProcess
    from runtime.transports.base import ListenSocket

log = logging.getLogger("layby.script")

_RAISED: Final = "event"
"""The letter by which a worker, which runs no routes, has the MI process run an event's route."""
TCP_DISCONNECT: Final = Event(
    "E_CORE_TCP_DISCONNECT",
    ("src_ip", "src_port", "dst_ip", "dst_port", "proto"),
    "A connection over which SIP was spoken has ended: its peer, and the address that is listened on.",
)
_DEFAULT_EXPIRE_S: Final = 3600
"""Of a subscription by MI that says nothing else, as in OpenSIPS; one by a script lasts for ever."""

Done = Callable[[bool], object]


class EventTransport(RuntimeModule):
    """A module by which events leave the server.

    Class attributes:
        schemes: what the sockets of its subscribers begin with, before the first colon.
        is_central: whether only the MI process sends, for all: where there are connections, or turns to be taken.
    """

    schemes: tuple[str, ...] = ()
    is_central: bool = False
    counters: Mapping[str, str] = {
        "sent_events": "Events that subscribers have, as far as one can tell.",
        "lost_events": "Events that did not get through to a subscriber.",
    }

    def is_address(self, socket: str) -> bool:
        """Whether events can be sent there."""
        raise NotImplementedError

    def deliver(self, socket: str, notice: Notice, done: Done, *, patient: bool = True) -> None:
        """Send an event; never waits, and never raises.

        Args:
            socket: the subscriber.
            notice: the event.
            done: called once, now or later, with whether it has arrived, as far as one can tell.
            patient: whether the event may wait for a subscriber that is away.
        """
        raise NotImplementedError


class Events(RuntimeModule):
    """Always there; a script does not load it."""

    name = "events"
    group = "evi"
    events = (TCP_DISCONNECT,)
    counters: Mapping[str, str] = {
        "lost_events": "Events that the MI process was to send, and that were too many, or were lost with a process."
    }

    def furnish(self, house: House) -> None:
        super().furnish(house)
        self._newest, self._ledger = Newest(), Ledger(house.slots)

    def enter(self, process: Process) -> None:
        super().enter(process)
        loaded = self.house.program.modules.values()
        self._transports = {s: one for one in loaded if isinstance(one, EventTransport) for s in one.schemes}
        self._subscribers = Subscribers(process.store, self._newest)
        self._courier = Courier(process, self._ledger, self._send, partial(self.count, "lost_events"))
        self._script: tuple[Checked | None, Raised] = None, Raised((), False)
        role = role_of(process.peer.name)
        self._is_worker = role == WORKER
        if role == MI:
            process.letters[_RAISED] = self._on_letter
        elif role == SIP:
            sip: SipProcess = process  # type: ignore[assignment]
            sip.on_disconnected = self._on_disconnected

    def on_peer_up(self, peer: Peer) -> None:
        self._courier.peer_up(peer)

    def on_peer_down(self, peer: Peer) -> None:
        self._courier.peer_down(peer)

    def _on_disconnected(self, socket: ListenSocket, peer: Address) -> None:
        process: SipProcess = self.process  # type: ignore[assignment]
        ours = socket.listen
        told = peer.host, peer.port, ours.host, ours.port, ours.protocol
        # In a turn of its own: a route may send, and this is called in the middle of sending.
        process.soon(partial(self.tell, TCP_DISCONNECT, *told))

    # Raising.

    def raised(self, event: str, params: tuple[Value, ...], named: dict[str, Value]) -> bool:
        """Run the event's route and tell its subscribers; False where nobody hears of it.

        A route that is declared ``sync`` runs now, on the caller's time; any other in the next turn of the loop.
        """
        told = self._tell(event, params, named)
        if not self._has_route(event):
            return told
        if self._is_worker:
            self._hand_on(event, params, named)
        else:
            self._run(event, params, named)
        return True

    def tell(self, event: Event, *values: Value) -> None:
        """Raise an event of a module's, where somebody hears of it; the values are those of its parameters."""
        if self.is_heard(event.name):
            self.raised(event.name, values, dict(zip(event.params, values, strict=True)))

    def is_heard(self, event: str) -> bool:
        """Whether anybody hears of an event. To be asked before its parameters are made: this is a look at memory."""
        return self._has_route(event) or bool(self._subscribers_of(event))

    def _has_route(self, event: str) -> bool:
        program = self.house.program
        if event in program.script.routes.events:
            return True
        # Workers run no routes and do not take newer scripts; the MI process knows.
        return self._is_worker and program.is_published(self.house.folder)

    def _tell(self, event: str, params: tuple[Value, ...], named: dict[str, Value]) -> bool:
        subscribers = self._subscribers_of(event)
        if subscribers:
            notice = notice_of(event, params, named)
            for one in subscribers:
                if self._transports[_scheme(one.socket)].is_central:
                    self._courier.send(one.socket, notice)
                else:
                    self._send(one.socket, notice)
        return bool(subscribers)

    def _send(self, socket: str, notice: Notice) -> None:
        transport = self._transports[_scheme(socket)]
        transport.deliver(socket, notice, lambda arrived: transport.count("sent_events" if arrived else "lost_events"))

    def deliver(self, socket: str, notice: Notice, done: Done, *, patient: bool = True) -> None:
        """Send an event to one subscriber, for a transport that is made of others; see `EventTransport.deliver`."""
        self._transports[_scheme(socket)].deliver(socket, notice, done, patient=patient)

    def is_address(self, socket: str) -> bool:
        """Whether a module that is loaded can send events there."""
        transport = self._transports.get(_scheme(socket))
        return transport is not None and transport.is_address(socket)

    def _run(self, event: str, params: tuple[Value, ...], named: dict[str, Value]) -> None:
        process: ScriptProcess = self.process  # type: ignore[assignment]
        script = self.house.program.script
        context = process.dummy_context(script, RouteType.EVENT)
        context.params, context.named_params = params, named
        run = partial(process.run_script, context, script.routes.events[event], nothing_more)
        if script.routes.event_modes.get(event) == "sync":
            run()
        else:
            process.soon(run)

    def _hand_on(self, event: str, params: tuple[Value, ...], named: dict[str, Value]) -> None:
        for peer in self.process.node.peers():
            if role_of(peer.name) == MI:
                self.process.node.post(peer, _RAISED, msgpack.packb([event, params, named]))

    def _on_letter(self, sender: Peer, body: bytes) -> None:
        event, params, named = msgpack.unpackb(body)
        if event in self.house.program.script.routes.events:
            self._run(event, tuple(params), named)

    # Subscribers.

    def _subscribers_of(self, event: str) -> list[Subscription]:
        return self._subscribers.of(event) if self._transports and 0 < len(event) <= MAX_NAME else []

    def _subscribe(self, event: str, socket: str, expire_s: int) -> str | None:
        """Subscribe, or subscribe anew, for ever where `expire_s` is 0; gives why it cannot be, or None."""
        return self._wrong(event, socket, expire_s) or self._subscribers.add(event, socket, expire_s)

    def _unsubscribe(self, event: str, socket: str) -> str | None:
        """Gives why it cannot be, or None; also where it was no subscriber."""
        why = self._wrong(event, socket, 0)
        if why is None:
            self._subscribers.remove(event, socket)
        return why

    def _wrong(self, event: str, socket: str, expire_s: int) -> str | None:
        if not self._is_known(event):
            return f"there is no event {event!r:.80}"
        transport = self._transports.get(_scheme(socket))
        if transport is None:
            return f"no module that is loaded sends events to {socket!r:.80}"
        if not transport.is_address(socket):
            return f"{socket!r:.80} is no address"
        if not 0 <= expire_s <= MAX_EXPIRE_S:
            return f"expire must be from 0 to {MAX_EXPIRE_S} seconds"
        return None

    # Events.

    def _is_known(self, event: str) -> bool:
        if NAME.fullmatch(event) is None:
            return False
        return self._of_script().computed or event in self._names() or self._has_route(event)

    def _names(self) -> dict[str, int]:
        """All events, numbered: of the modules, of the script, and those computed ones that have subscribers."""
        modules = self.house.program.modules.values()
        names = [event.name for one in modules if isinstance(one, RuntimeModule) for event in one.events]
        names += [*self.house.program.script.routes.events, *self._of_script().names]
        names += self._subscribers.events()
        return {name: number for number, name in enumerate(dict.fromkeys(names))}

    def _of_script(self) -> Raised:
        checked = self.house.program.checked
        if self._script[0] is not checked:
            self._script = checked, raised_by(checked.routes)
        return self._script[1]

    # What scripts do.

    @function(
        "raise_event",
        Param("event", Kind.STRING),
        Param("names", Kind.AVP, optional=True),
        Param("values", Kind.AVP, optional=True),
    )
    def raise_event(self, c: Context, event: str, names: Ref | None, values: Ref | None) -> int:
        """Raise an event. Its route sees the values as `$param(name)` and, in order, as `$param(1)` and so on.

        Those who subscribed to it are told. With one AVP its values have no names. Gives 1, also where nobody listens;
        -1 where there are fewer names than values.
        """
        if values is None:
            names, values = None, names
        given = [] if values is None else values.all(c)
        named = [] if names is None else [str(name) for name in names.all(c)]
        if names is not None and len(named) < len(given):
            log.error("raise_event(%s): %d names for %d values", event, len(named), len(given))
            return -1
        self.raised(event, tuple(given), dict(zip(named, given, strict=False)))
        return 1

    @function(
        "subscribe_event",
        Param("event", Kind.STRING),
        Param("socket", Kind.STRING),
        Param("expire", Kind.INTEGER, optional=True),
    )
    def subscribe_event(self, c: Context, event: str, socket: str, expire: int | None) -> int:
        """Have an outside program told whenever an event is raised, by whichever process: `udp:127.0.0.1:8888`.

        It lasts for `expire` seconds; for ever where that is 0 or not given. Whoever subscribes anew is told once, for
        as long as was said last. -1, and a line in the log, where no module is loaded that sends there, where there is
        no such event, or where too many have subscribed.
        """
        try:
            why = self._subscribe(event, socket, expire or 0)
        except StoreError as error:
            why = str(error)
        if why is None:
            return 1
        log.error("%ssubscribe_event(%.64s, %.128s): %s", _where(), event, socket, why)
        return -1

    # MI commands.

    @command(
        "event_subscribe",
        ("event", "socket"),
        ("event", "socket", "expire"),
        idempotent=True,
        aliases=("evi:subscribe",),
        instead="subscribe_event()",
    )
    def event_subscribe(self, params: Params) -> Json:
        """Be told of an event at a socket, for an hour or for `expire` seconds; 0 to be told no more."""
        event, socket = script_of(params.text("event")), script_of(params.text("socket"))
        expire_s = params.integer("expire", _DEFAULT_EXPIRE_S)
        try:
            why = self._subscribe(event, socket, expire_s) if expire_s else self._unsubscribe(event, socket)
        except StoreError as error:
            raise MiError(500, "Cannot subscribe", str(error)) from error
        if why is not None:
            raise MiError(400, "Bad parameter value", text_of(why))
        return "OK"

    @command("events_list", (), idempotent=True, aliases=("evi:list",))
    def events_list(self, params: Params) -> Json:
        """All events that modules and the script can raise."""
        return {"Events": [{"name": name, "id": number} for name, number in self._names().items()]}

    @command("subscribers_list", (), ("event",), ("event", "socket"), idempotent=True, aliases=("evi:subscribers",))
    def subscribers_list(self, params: Params) -> Json:
        """Who hears of which event; of one event, or one subscriber of it, where they are named."""
        names = self._names()
        if "event" not in params:
            return {"Events": [row for name, number in names.items() if (row := self._shown(name, number))]}
        event = script_of(params.text("event"))
        if event not in names:
            raise MiError(404, "Event not published")
        if "socket" not in params:
            return {"Event": self._shown(event, names[event])}
        wanted = params.text("socket")
        one = next((row for row in self._rows(event) if row["socket"] == wanted), None)
        if one is None:
            raise MiError(404, "Subscriber does not exist")
        return {"Event": {"name": event, "id": names[event], "Subscriber": one}}

    def _shown(self, event: str, number: int) -> dict[str, Json]:
        rows: list[Json] = [*self._rows(event)]
        return {"name": event, "id": number, "Subscribers": rows} if rows else {}

    def _rows(self, event: str) -> Iterator[dict[str, Json]]:
        if event in self.house.program.script.routes.events:
            yield {"socket": f"route:{event}", "expire": "never"}
        now = epoch_now()
        for one in self._subscribers_of(event):
            if one.ends_at:
                yield {"socket": text_of(one.socket), "expire": one.expire_s, "ttl": int(one.ends_at - now)}
            else:
                yield {"socket": text_of(one.socket), "expire": "never"}

    @command("raise_event", ("event",), ("event", "params"), aliases=("evi:raise",), instead="raise_event()")
    def mi_raise_event(self, params: Params) -> Json:
        """Raise an event. Its parameters are an array, or a string with a JSON object in it for those with names."""
        event = script_of(params.text("event"))
        if not self._is_known(event):
            raise MiError(404, "Event not registered")
        given = params.raw("params", None)
        named: dict[str, Value] | None = {}
        values: tuple[Value, ...] = ()
        match given:
            case None:
                pass
            case list():
                values = tuple(script_of(one) for one in params.texts("params"))
            case str():
                named = named_params(given)
            case _:
                raise MiError(400, "No Params")
        if named is None:
            raise MiError(400, "Bad Params")
        if not self.raised(event, values or tuple(named.values()), named):
            raise MiError(480, "Temporarily Unavailable")
        return "OK"


def events_of(house: House) -> Events:
    """The server's event interface."""
    found: Any = house.program.modules[Events.name]
    assert isinstance(found, Events)
    return found


def _scheme(socket: str) -> str:
    return socket.partition(":")[0]


def _where() -> str:
    """The statement of the script that is on the stack, for the log."""
    found = statement_on(sys._getframe(1))
    return "" if found is None else f"{found.place.file}:{found.place.line}: "
