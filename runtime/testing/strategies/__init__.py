"""Hypothesis strategies: SIP messages good and hostile, calls, MI commands.

Everything is data: bytes and texts to send, a `CallPlan` to play, a `mi_script.calls.Call` to run.
"""

from runtime.testing.strategies.calls import call_plans as call_plans
from runtime.testing.strategies.mi import hostile_rpc as hostile_rpc
from runtime.testing.strategies.mi import json_values as json_values
from runtime.testing.strategies.mi import mi_calls as mi_calls
from runtime.testing.strategies.mi import rpc_requests as rpc_requests
from runtime.testing.strategies.sip import damaged as damaged
from runtime.testing.strategies.sip import header_lines as header_lines
from runtime.testing.strategies.sip import header_values as header_values
from runtime.testing.strategies.sip import hostile_messages as hostile_messages
from runtime.testing.strategies.sip import replies as replies
from runtime.testing.strategies.sip import requests as requests
from runtime.testing.strategies.sip import tokens as tokens
from runtime.testing.strategies.sip import uris as uris
