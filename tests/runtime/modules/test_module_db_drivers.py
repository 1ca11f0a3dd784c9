"""Modules that load a database's driver: scripts have them, and the drivers are there anyway."""

import pytest

from runtime.modules.catalog import CATALOG
from tests.runtime.script.conftest import check_text


def said(text):
    checked = check_text(text + "\nroute { exit; }", catalog=CATALOG)
    return [problem.said for problem in (checked if isinstance(checked, list) else checked.warnings)]


@pytest.mark.parametrize(
    ("module", "param"),
    [("db_mysql", '"timeout_interval", 3'), ("db_postgres", '"timeout", "3"'), ("db_sqlite", '"alloc_limit", 25')],
)
def test_a_driver_is_accepted_and_what_is_set_of_it_has_no_effect(module, param):
    assert said(f'loadmodule "{module}.so"') == []
    (told,) = said(f'loadmodule "{module}.so"\nmodparam("{module}", {param})')
    assert told.startswith(f"parameter {param.split(chr(34))[1]} of module {module} has no effect: ")


def test_another_database_s_driver_is_unknown():
    (told,) = said('loadmodule "db_text.so"')
    assert told.startswith("unknown module db_text")
