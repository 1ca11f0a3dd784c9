"""The MI commands of module tm."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from typing import Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.asking import Answers, ask, sip_processes
from runtime.errands import packed, who_sends
from runtime.listen import PROTOCOLS, parse_listen
from runtime.modules.base import RuntimeModule
from runtime.modules.texts import bytes_text, script_text
from runtime.roles import SEND_AND_WAIT
from runtime.settings import SettingsError
from runtime.sip.fields import is_token, parse_name_addr
from runtime.sip.message import Reply, parse
from runtime.sip.own_request import OwnRequest, built, header_lines, request_of
from runtime.sip.uri import parse_uri
from runtime.sip_answers import CANCEL_INVITES, FAILED, REPLIED, REPLY
from workers.jobs import Returned

_OPTIONAL: Final = ("next_hop", "socket", "body")
_RECIPES: Final = tuple(
    ("method", "ruri", "headers", *chosen)
    for count in range(len(_OPTIONAL) + 1)
    for chosen in itertools.combinations(_OPTIONAL, count)
)
_REPLY: Final = ("code", "reason", "trans_id", "to_tag")
_REPLIES: Final = (_REPLY, (*_REPLY, "new_headers"), (*_REPLY, "body"), (*_REPLY, "new_headers", "body"))
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

    @command("t_uac_cancel", ("callid", "cseq"), idempotent=True, aliases=("tm:uac_cancel",))
    async def t_uac_cancel(self, params: Params) -> Json:
        """CANCEL an INVITE that this server has sent and that has no final reply yet, relayed or its own.

        It is named by its Call-ID and the number of its CSeq.
        """
        body = msgpack.packb([bytes_text(params.text("callid")), params.text("cseq").strip()])
        answers = await ask(self.process, sip_processes(self.process), CANCEL_INVITES, body)
        if not any(msgpack.unpackb(count) for count in answers.said):
            raise _unless_silent(answers, MiError(481, "No such transaction"))
        return "OK"

    @command("t_reply", *_REPLIES, aliases=("tm:reply",), positional=(_REPLIES[1],), instead="t_reply()")
    async def mi_t_reply(self, params: Params) -> Json:
        """Reply to a request that waits for a reply, through its transaction; `trans_id` is what `$T_id` said.

        `new_headers` are header lines, with a Content-Type where there is a `body`. An empty `to_tag` leaves the tag to
        the server.
        """
        body = msgpack.packb([bytes_text(params.text("trans_id")), *_reply_of(params)])
        answers = await ask(self.process, sip_processes(self.process), REPLY, body)
        ends = {msgpack.unpackb(end) for end in answers.said}
        if REPLIED in ends:
            return "OK"
        if FAILED in ends:
            raise MiError(500, "Reply failed", "it has its final reply")
        raise _unless_silent(answers, MiError(404, "Transaction not found"))

    @command("t_hash", (), idempotent=True, aliases=("tm:hash",))
    def t_hash(self, params: Params) -> Json:
        """How many transactions each SIP process has now, and has had: each keeps a table of its own."""
        value = self.house.statistics.of
        return [
            {
                "index": slot,
                "Current": value("tm:inuse_transactions", slot),
                "Total": value("tm:UAS_transactions", slot),
            }
            for slot in range(self.house.settings.udp_workers)
        ]

    def _wanted(self, params: Params) -> OwnRequest:
        method, ruri = bytes_text(params.text("method")), bytes_text(params.text("ruri"))
        if parse_uri(ruri) is None:
            raise MiError(400, "Invalid RURI")
        next_hop = bytes_text(_given(params, "next_hop")) or None
        if next_hop is not None and parse_uri(next_hop) is None:
            raise MiError(400, "Invalid NEXTHOP")
        headers, body = bytes_text(_given(params, "headers")), _bytes(params.text("body", ""))
        call_id, tag = f"{secrets.token_hex(12)}@layby", secrets.token_hex(8)
        try:
            wanted = request_of(method, ruri, headers, body, call_id=call_id, tag=tag)
            wanted = dataclasses.replace(wanted, dst_uri=next_hop, socket=self._socket(_given(params, "socket")))
            built(wanted)
        except ValueError as error:
            raise MiError(400, str(error)) from error
        return wanted

    def _socket(self, text: str) -> int | None:
        """The index of a listening socket, named with its protocol or without."""
        if not text:
            return None
        protocol = text.partition(":")[0].lower()
        protocols = (protocol,) if protocol in PROTOCOLS else PROTOCOLS
        try:
            listen = parse_listen(text if protocol in PROTOCOLS else f"{PROTOCOLS[0]}:{text}")
        except SettingsError as error:
            raise MiError(404, "Invalid local socket", str(error)) from error
        for index, own in enumerate(one.listen for one in self.house.sockets):
            if own.protocol in protocols and (own.host, own.port) == (listen.host, listen.port):
                return index
        raise MiError(404, "Local socket not found")


def _given(params: Params, name: str) -> str:
    """A parameter of t_uac_dlg; a lone dot, which older clients send for what they leave out, is nothing."""
    text = params.text(name, "")
    return "" if text == "." else text


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _reply_of(params: Params) -> tuple[int, str, list[str], bytes, str | None]:
    """Status, reason, headers, body and To tag."""
    code, tag = params.integer("code"), bytes_text(params.text("to_tag"))
    if not 100 <= code < 700:
        raise MiError(400, "Invalid reply code")
    if tag and not is_token(tag):
        raise MiError(400, "Bad parameter value", "to_tag is no token")
    headers, body = header_lines(bytes_text(params.text("new_headers", ""))), _bytes(params.text("body", ""))
    if body and not any(line.lower().startswith(("content-type:", "c:")) for line in headers):
        raise MiError(400, "Content-Type missing")
    return code, bytes_text(params.text("reason")), headers, body, tag or None


def _unless_silent(answers: Answers, error: MiError) -> MiError:
    """What to say where nobody knew: processes that did not answer may have known."""
    if not answers.silent:
        return error
    return MiError(500, "No answer from every process", ", ".join(map(str, answers.silent)))


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
