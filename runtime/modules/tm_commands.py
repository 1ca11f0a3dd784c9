"""The MI commands of module tm."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from typing import Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.errands import packed, who_sends
from runtime.listen import parse_listen
from runtime.modules.base import RuntimeModule
from runtime.modules.texts import bytes_text, script_text
from runtime.roles import SEND_AND_WAIT
from runtime.settings import SettingsError
from runtime.sip.fields import parse_name_addr
from runtime.sip.message import Reply, parse
from runtime.sip.own_request import OwnRequest, built, request_of
from runtime.sip.uri import parse_uri
from workers.jobs import Returned

_OPTIONAL: Final = ("next_hop", "socket", "body")
_RECIPES: Final = tuple(
    ("method", "ruri", "headers", *chosen)
    for count in range(len(_OPTIONAL) + 1)
    for chosen in itertools.combinations(_OPTIONAL, count)
)
_LONGEST_S: Final = 300.0
"""For how long an answer is awaited at most. Mostly fr_timeout and fr_inv_timeout have ended it before."""


class TmCommands(RuntimeModule):
    """The commands, for the module to inherit."""

    @command("t_uac_dlg", *_RECIPES, named_only=True, aliases=("tm:uac_dlg", "tm:t_uac_dlg"))
    async def t_uac_dlg(self, params: Params) -> Json:
        """Send a request out of any dialog, and tell what it is answered.

        `headers` has From and To, and whatever else there is to say, in lines; Call-ID, CSeq and From's tag are made
        where they are not given, and a body needs a Content-Type. The script's local_route sees the request before it
        goes.
        """
        wanted = self._wanted(params)
        outcome = await self.process.node.call(
            SEND_AND_WAIT,
            packed(wanted, {}),
            label="t_uac_dlg",
            timeout_s=_LONGEST_S,
            to=who_sends(self.process, secrets.randbits(16)),
        )
        if not isinstance(outcome, Returned):
            raise MiError(500, "Request could not be sent", str(outcome))
        status, reason, raw = msgpack.unpackb(outcome.payload)
        return {"Status": f"{status} {script_text(reason)}", **_told(raw)}

    def _wanted(self, params: Params) -> OwnRequest:
        method, ruri = bytes_text(params.text("method")), bytes_text(params.text("ruri"))
        if parse_uri(ruri) is None:
            raise MiError(400, "Invalid RURI")
        next_hop = bytes_text(params.text("next_hop", "")) or None
        if next_hop is not None and parse_uri(next_hop) is None:
            raise MiError(400, "Invalid NEXTHOP")
        headers, body = bytes_text(params.text("headers")), params.text("body", "").encode("utf-8", "surrogateescape")
        call_id, tag = f"{secrets.token_hex(12)}@layby", secrets.token_hex(8)
        try:
            wanted = request_of(method, ruri, headers, body, call_id=call_id, tag=tag)
            wanted = dataclasses.replace(wanted, dst_uri=next_hop, socket=self._socket(params.text("socket", "")))
            built(wanted)
        except ValueError as error:
            raise MiError(400, str(error)) from error
        return wanted

    def _socket(self, text: str) -> int | None:
        """The index of a listening socket."""
        if not text:
            return None
        try:
            listen = parse_listen(text)
        except SettingsError as error:
            raise MiError(404, "Invalid local socket", str(error)) from error
        for index, own in enumerate(self.house.sockets):
            if (own.listen.protocol, own.listen.host, own.listen.port) == (listen.protocol, listen.host, listen.port):
                return index
        raise MiError(404, "Local socket not found")


def _told(raw: bytes) -> dict[str, Json]:
    """What an answer says of a reply: its headers, and where the next request of the dialog would go."""
    reply = parse(raw) if raw else None
    if not isinstance(reply, Reply):
        return {}
    told: dict[str, Json] = {}
    if reply.contact is not None and reply.to.tag and reply.status < 300:
        routes = reply.all("record-route")
        first = parse_name_addr(routes[-1]) if routes else reply.contact
        told = {"RURI": script_text(reply.contact.uri), "Next-hop": script_text((first or reply.contact).uri)}
    told["Message"] = raw.partition(b"\r\n")[2].decode("utf-8", "replace")
    return told
