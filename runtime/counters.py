"""The statistics that every server keeps, loaded modules or not, by group: each name with what it counts."""

from __future__ import annotations

from typing import Final

CORE: Final = {
    "rcv_requests": "Requests that were received.",
    "rcv_replies": "Replies that were received.",
    "drop_replies": "Replies that belong to nothing and were dropped.",
    "bad_messages": "Messages that could not be read, or break the rules of SIP.",
    "err_requests": "Requests whose route failed.",
    "handed_over": "Messages that were given to the process that has their transaction.",
    "lost_handovers": "Messages that could not be given to it.",
    "retransmissions": "Requests that were a copy of one before.",
    "lost_sends": "Messages that could not be sent.",
    "slow_messages": "Routes that took longer than `exec_msg_threshold`.",
}
DNS: Final = {
    "dns_total_queries": "Questions to DNS.",
    "dns_slow_queries": "Those whose answer took longer than `exec_dns_threshold`.",
}
SQL: Final = {
    "sql_total_queries": "Statements to databases.",
    "sql_slow_queries": "Those that took longer than their module's `exec_query_threshold`.",
}
CDB: Final = {
    "cdb_total_queries": "What cachedb_local was asked to store, to fetch, to remove or to add up.",
    "cdb_slow_queries": "Always 0: there is no limit to how long that may take.",
}
SL: Final = {
    "sent_replies": "Replies that were sent without a transaction.",
    "received_ACKs": "ACKs of such replies.",
}
TM: Final = {
    "received_replies": "Replies to what was relayed or sent.",
    "relayed_replies": "Replies that were passed on.",
    "local_replies": "Final replies of the server's own making to what was relayed.",
    "UAS_transactions": "Server transactions that were made.",
    "UAC_transactions": "Client transactions of the server's own requests.",
    **{f"{status}xx_transactions": f"Server transactions that ended with a {status}xx." for status in range(2, 7)},
}
TM_GAUGES: Final = {
    "inuse_transactions": "Server transactions that there are now.",
    "inuse_branches": "Client transactions that there are now.",
}
ASYNC: Final = {
    "parked": "Messages that were put aside by async().",
    "resumed": "Messages whose resume route was run.",
    "resume_lost": "Jobs that ended when their message had been given up.",
    "late_answers": "Answers of jobs that had been given up: past their time, cancelled, or of a process called dead. "
    "Two for a command that waited for another process meanwhile: its own, and that one's.",
    "launched": "Jobs that launch() started.",
    "reported": "Jobs of launch() that have ended.",
    "script_errors": "Statements of the script that failed.",
}
MI: Final = {
    "denied": "MI commands that were refused because `allow` or `deny` says so, wherever they were called.",
}
ASYNC_GAUGES: Final = {"waiting": "Messages that are put aside now."}
COUNTERS: Final = {
    "core": CORE,
    "dns": DNS,
    "sql": SQL,
    "cdb": CDB,
    "sl": SL,
    "tm": TM,
    "async": ASYNC,
    "mi": MI,
}
"""What is only counted up, by group."""
GAUGES: Final = {"tm": TM_GAUGES, "async": ASYNC_GAUGES}
"""What goes up and down, by group."""
