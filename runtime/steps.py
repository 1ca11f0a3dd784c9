"""The steps of a server's processes that `workers.steps` knows nothing of: those of messages, scripts and MI."""

from __future__ import annotations

from enum import StrEnum


class ServerStep(StrEnum):
    """Where a process of a server can be, beside the steps of the pool."""

    # A message.
    MESSAGE_RECEIVED = "message received"
    HANDED_OVER = "handed over"
    TAKING_GIVEN = "taking given"
    TRANSACTION_MADE = "transaction made"
    ANSWERING = "answering"
    ANSWERED = "answered"
    CANCELLED = "cancelled"
    RELAYED = "relayed"
    REPLY_RECEIVED = "reply received"

    # A context.
    PARKING = "parking"
    PARKED = "parked"
    TAKEN_UP = "taken up"
    LAUNCHED = "launched"
    REPORTING = "reporting"
    STANDING_STILL = "standing still"
    MOVING_AGAIN = "moving again"

    # Any process.
    COMMAND_RUN = "command run"
    STORE_LOCKED = "store locked"
