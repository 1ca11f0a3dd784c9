"""Runs script text with real modules on a context, without a server around them."""

import pytest

from runtime.listen import parse_listen
from runtime.modules.catalog import CATALOG
from runtime.script.compile import compile_script
from runtime.script.functions import World
from runtime.sip.own import OwnAddresses, aliases_of
from tests.runtime.script.conftest import Bench, Process, check_text, make_context

WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.5, process_id=lambda: 42)


@pytest.fixture
def scripted():
    """Load script text, give its modules the addresses that it names, and make a context of a message."""

    def build(text, raw):
        checked = check_text(text, catalog=CATALOG)
        assert not isinstance(checked, list), [str(problem) for problem in checked]
        modules = {name: CATALOG[name](checked.settings[name]) for name in checked.modules}
        for module in modules.values():
            module.own = OwnAddresses([parse_listen(text) for text in checked.sockets], aliases_of(checked.globals))
        process = Process()
        made = Bench(compile_script(checked, modules, process, WORLD), process, modules, make_context(raw))
        made.ended = made.run()
        return made

    return build
