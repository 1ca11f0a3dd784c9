"""A SIP phone in a test's hands."""

from runtime.testing.peer import Peer as Peer
from runtime.testing.peer import Received as Received
from runtime.testing.waiting import LIMIT_S as LIMIT_S
