"""Builds layby, and beside its Python what of it is compiled.

Everything else about the package stands in pyproject.toml. Nothing that is compiled is needed: without it all works the
same, and slower (`runtime/compiled.py` says how it is switched off).

Where Cython is there, each `.pyx` under runtime/ is built; one that cannot be, for want of a C compiler or of Python's
headers, is left out with a warning. With LAYBY_NATIVE=1 in the environment the Python of the hot path is compiled as
well, from the very same source, which needs mypy and a C compiler.
"""

from __future__ import annotations

import os
import sys
from glob import glob

from setuptools import Extension, setup

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


def beside() -> list[Extension]:
    """The extension modules that stand beside the Python, each of them optional."""
    try:
        from Cython.Build import cythonize
    except ImportError:
        print("layby: Cython is not there, so nothing is compiled; all works the same, and slower", file=sys.stderr)
        return []
    modules: list[Extension] = cythonize(
        sorted(glob("runtime/**/*.pyx", recursive=True)),
        build_dir="build/cython",
        compiler_directives={"language_level": 3, "binding": False},
    )
    for module in modules:
        module.optional = True
    return modules


def native() -> list[Extension]:
    """The Python of the hot path as extension modules, or none."""
    if os.environ.get("LAYBY_NATIVE") != "1":
        return []
    from mypyc.build import mypycify

    return list(mypycify(NATIVE, opt_level="3", multi_file=False))


setup(ext_modules=beside() + native())
