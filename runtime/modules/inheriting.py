"""Whether what is loaded anew keeps its state: `inherit_state`, of every command that reloads what has one."""

from __future__ import annotations

from typing import Final

from mi_script.commands import MiError, Params

_WORDS: Final = {"1": True, "y": True, "yes": True, "0": False, "n": False, "no": False}


def inherits_state(params: Params) -> bool:
    """Whether `inherit_state` says so, as it does where it is not given.

    Raises:
        MiError: it is no word for yes or no: a reload that throws states away by a slip of the pen cannot be undone.
    """
    found = _WORDS.get(params.text("inherit_state", "1").lower())
    if found is None:
        raise MiError(400, "Bad parameter value", "inherit_state is 1 or 0, y or n")
    return found
