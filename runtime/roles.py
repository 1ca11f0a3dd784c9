"""The kinds of processes, and what one may ask directly of another."""

from __future__ import annotations

from typing import Final

SIP: Final = "sip"
WORKER: Final = "worker"
MI: Final = "mi"

TITLES: Final = {SIP: "SIP receiver", WORKER: "MI worker", MI: "MI"}
"""What `ps` calls each kind of process."""

COMMAND: Final = "runtime.handlers:run_command"
"""The job that an MI command is; it goes to whichever process is least loaded."""
RELOAD: Final = "runtime.handlers:reload"
ASK: Final = "runtime.handlers:answer_question"
"""What one process asks directly of another."""
STANDS_STILL: Final = "stands still"
"""The question for how long a process has served no traffic (`runtime.asking`)."""
CATCH_UP: Final = "script"
"""The letter that tells a process to take over the script that was published last."""
SEND_REQUEST: Final = "request"
"""The letter that has a SIP process send a request of our own."""
FLUSH_BINDINGS: Final = "runtime.location.recorder:flush_bindings"
"""Have bindings of users written into the database now, for the MI process to see to."""
RECORD_ACCOUNTS: Final = "runtime.acc.recorder:record_accounts"
"""The job that writes records of transactions and calls into the database."""
RECORD_BINDINGS: Final = "runtime.location.recorder:record_bindings"
"""The job that writes bindings of users into the database."""
RECORD_DESTINATIONS: Final = "runtime.dispatching.recorder:record_states"
"""The job that writes changed states of destinations into the database."""
RECORD_DIALOGS: Final = "runtime.dialogs.recorder:record_dialogs"
"""The job that writes changed dialogs into the database."""
RECORD_STATES: Final = "runtime.modules.drouting_states:record_states"
"""The job that writes states of gateways into their tables."""
SEND_SEQUENTIAL: Final = "runtime.dialogs.sequential:send_sequential"
"""A request within a dialog, for a SIP process to send."""
SEND_AND_WAIT: Final = "runtime.uac:send_and_wait"
"""A request out of any dialog, for a SIP process to send."""
HANDLERS: Final = (
    COMMAND,
    RELOAD,
    ASK,
    FLUSH_BINDINGS,
    RECORD_ACCOUNTS,
    RECORD_BINDINGS,
    RECORD_DESTINATIONS,
    RECORD_DIALOGS,
    RECORD_STATES,
    SEND_SEQUENTIAL,
    SEND_AND_WAIT,
)


def role_of(name: str) -> str:
    """The kind of a process by its name, e.g. ``sip-2``."""
    return name.rpartition("-")[0]
