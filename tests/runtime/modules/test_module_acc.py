"""Module acc: its parameters, and where its functions may stand."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.modules.acc import Acc
from runtime.modules.catalog import CATALOG
from runtime.settings import SettingsError
from tests.runtime.script.conftest import INVITE, check_text

HEAD = 'loadmodule "acc.so"\n'


@pytest.mark.parametrize(
    "wrong",
    [
        {"extra_fields": ["a->b"]},
        {"extra_fields": ["aaa: a->b"]},
        {"extra_fields": ["db: a->Time"]},
        {"extra_fields": ["db: a->sip_call"], "acc_callid_column": "sip_call"},
        {"extra_fields": ["evi: duration"]},
        {"db_table_acc": "acc; DROP TABLE acc"},
        {"db_table_missed_calls": ""},
    ],
)
def test_parameters_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Acc(wrong)


@pytest.mark.parametrize(
    ("route", "statement"),
    [
        ("onreply_route[x]", 'do_accounting("log");'),
        ("local_route", 'do_accounting("log");'),
        ("onreply_route[x]", "drop_accounting();"),
        ("onreply_route[x]", 'acc_log_request("200 OK");'),
        ("route", "do_accounting();"),
        ("route", 'acc_db_request("200 OK");'),
        ("route", "acc_new_leg();"),
    ],
)
def test_what_a_script_may_not_say(route: str, statement: str) -> None:
    assert isinstance(check_text(f"{HEAD}{route} {{ {statement} }}", catalog=CATALOG), list)


@pytest.mark.parametrize(
    ("route", "statement"),
    [
        ("failure_route[x]", 'do_accounting("log|db", "missed|failed", "calls");'),
        ("branch_route[x]", 'drop_accounting("log", "failed");'),
        ("local_route", 'acc_db_request("200 Dialog Timeout", "acc");'),
        ("route", 'acc_evi_request("$T_reply_code $rr");'),
        ("onreply_route[x]", 'if ($acc_extra(a) == NULL) $acc_extra(a) = "b";'),
    ],
)
def test_what_a_script_may_say(route: str, statement: str) -> None:
    text = f'{HEAD}loadmodule "tm.so"\n{route} {{ {statement} }}'
    found = check_text(text, catalog=CATALOG)
    assert not isinstance(found, list), [str(problem) for problem in found]


def test_where_no_traffic_is_nothing_is_accounted(scripted) -> None:
    made = scripted(
        HEAD + 'modparam("acc", "extra_fields", "log: a")\n'
        'route { do_accounting("log"); xlog("$rc"); drop_accounting(); xlog("$rc"); acc_log_request("200 OK");'
        ' $acc_extra(a) = "x"; xlog("$rc $acc_extra(a)"); }',
        INVITE,
    )
    assert made.texts == ["-1", "-1", "-1 <null>"]
