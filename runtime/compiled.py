"""Whether a compiled module is used: the one place that decides it.

Beside some modules lies a `.pyx` that does what is usual of their work, several times faster. It is built where the
package is installed with a C compiler at hand, and never needed: the Python beside it does all of the work without it,
with the same results. `LAYBY_PURE=1` in the environment leaves what is built alone, to compare the two or to rule one
of them out.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final

PURE: Final = os.environ.get("LAYBY_PURE", "") not in ("", "0")
"""Whether only Python is to be used."""


def is_compiled(module: str) -> bool:
    """Whether a compiled module was built and may be used.

    Args:
        module: its whole name, e.g. ``runtime.sip.scan``.
    """
    return not PURE and find_spec(module) is not None
