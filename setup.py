"""Builds layby. With LAYBY_NATIVE=1 in the environment the hot path is compiled, which needs mypy and a C compiler.

Everything else about the package stands in pyproject.toml. What is compiled is the very same Python source; without it
all works the same, and slower.
"""

from __future__ import annotations

import os

from setuptools import setup

NATIVE = [
    "runtime/alarm.py",
    "runtime/client_transactions.py",
    "runtime/handover.py",
    "runtime/proxy.py",
    "runtime/relay.py",
    "runtime/server_transactions.py",
    *[
        f"runtime/sip/{name}.py"
        for name in (
            "branches",
            "build",
            "client_table",
            "client_transaction",
            "fields",
            "forward",
            "headers",
            "judge",
            "keys",
            "message",
            "own",
            "ownership",
            "reasons",
            "response_context",
            "routing",
            "table",
            "timers",
            "transaction",
            "uri",
        )
    ],
]
"""What a message passes through. Not the script's functions, which are compiled when a script is loaded."""


def native() -> list[object]:
    """The extension modules, or none."""
    if os.environ.get("LAYBY_NATIVE") != "1":
        return []
    from mypyc.build import mypycify

    return list(mypycify(NATIVE, opt_level="3", multi_file=False))


setup(ext_modules=native())
