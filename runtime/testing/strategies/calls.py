"""Plans of calls, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from runtime.testing.calls import By, CallPlan

_PROVISIONAL = (180, 182, 183)
_REFUSALS = (400, 404, 408, 480, 486, 500, 603)


def call_plans(users: Sequence[str] = ("bob",)) -> st.SearchStrategy[CallPlan]:
    """Calls that are answered, refused or given up, with re-INVITEs, and ended by either end.

    Args:
        users: who may be called.
    """
    sides: st.SearchStrategy[By] = st.sampled_from(["caller", "callee"])
    return st.builds(
        CallPlan,
        user=st.sampled_from(users),
        provisional=st.lists(st.sampled_from(_PROVISIONAL), max_size=2).map(tuple),
        cancelled=st.booleans(),
        final=st.just(200) | st.sampled_from(_REFUSALS),
        again=st.lists(sides, max_size=2).map(tuple),
        ended_by=sides,
    )
