"""Loads scripts in Python, and runs their routes with a process that notes what they ask of it."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.pyscript.load import PyChecked, load
from runtime.pyscript.routes import make_script
from runtime.script.functions import World
from tests.runtime.script.conftest import INVITE, Process, Tools, make_context

HEAD = 'from runtime.pyscript import Call, Cancelled, module, route, server\nmodule("tools")\n'


@dataclass
class Waiting(Process):
    """A process that parks nothing: what a route waits for is noted, and the test resumes it."""

    places: list = field(default_factory=list)
    waits: list = field(default_factory=list)
    has_it: bool = True

    def wait(self, context, begin, resume, place, *, abandon):
        if self.has_it:
            self.waits.append((begin, resume, place, abandon))
        return self.has_it

    def log(self, level, text, context, place):
        super().log(level, text, context, place)
        self.places.append(place)

    def start(self, context, begin, report_to, param, place):
        self.launched.append((begin, report_to, place.line))
        return 1


@dataclass
class Bench:
    script: object
    process: Waiting
    tools: Tools
    context: object

    def run(self, route="request"):
        return getattr(self.script.routes, route)(self.context)

    def resume(self, ending=None):
        """End the oldest wait and go on, as the process does."""
        begin, resume, _, _ = self.process.waits.pop(0)
        self.context.rc = begin.finish(self.context, ending) if hasattr(begin, "future") else begin.finish(self.context)
        return resume(self.context)


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Load a script, with further files beside it; the result whatever it is."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def find(text, *, catalog=None, files=None, head=HEAD):
        for name, content in {"app.py": head + textwrap.dedent(text), **(files or {})}.items():
            (tmp_path / name).write_text(content)
        return load(tmp_path / "app.py", catalog={"tools": Tools} if catalog is None else catalog)

    yield find
    for name in [name for name, found in sys.modules.items() if str(tmp_path) in str(getattr(found, "__file__", ""))]:
        del sys.modules[name]


@pytest.fixture
def problems(checked, tmp_path):
    """The problems of a script, or its warnings, as text with the file's name alone."""

    def find(text, **options):
        found = checked(text, **options)
        shown = [str(problem) for problem in (found.warnings if isinstance(found, PyChecked) else found)]
        return [one.replace(f"{tmp_path}/", "") for one in shown]

    return find


@pytest.fixture
def bench(checked):
    """Load, make the routes, and make a context."""

    def build(text, *, raw=INVITE, level=4, **options):
        found = checked(text, **options)
        assert isinstance(found, PyChecked), [str(problem) for problem in found]
        process, tools = Waiting(level), Tools(found.settings.get("tools"))
        world = World(wall_clock=lambda: 1_790_000_000.25, random=lambda: 0.5, process_id=lambda: 42, started_at=7.0)
        return Bench(make_script(found, {"tools": tools}, process, world), process, tools, make_context(raw))

    return build


@pytest.fixture
def run(bench):
    """Run statements in the request route; what it gave, and all about it."""

    def go(statements, **options):
        body = textwrap.indent(textwrap.dedent(statements), "    ")
        made = bench("@route.request\ndef main(call: Call) -> None:\n" + body, **options)
        made.ended = made.run()
        return made

    return go


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "app.py"
