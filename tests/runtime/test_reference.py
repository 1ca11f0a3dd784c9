"""The reference is made of the declarations, so each declaration says what it is."""

from __future__ import annotations

import ast
import dis
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import runtime
from runtime.attendant import furnish
from runtime.folder import RuntimeFolder
from runtime.house import House
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.program import Program
from runtime.reference import every_entry, gather, write_reference
from runtime.script.declare import Function, Parameter, only_asynchronous
from runtime.script.functions import Core
from runtime.script.pages import MADE
from runtime.script.reference import Entry, ModuleFacts, Sort, find, near
from runtime.script.settings import GLOBALS
from runtime.script.words import WORDS
from runtime.settings import settle

MODULES = {"core": Core, **ALWAYS, **CATALOG}
PARAMETERS = [(module.name, parameter) for module in MODULES.values() for parameter in module.parameters]
ENTRIES = every_entry(gather())
PAGES = Path(runtime.__path__[0]).parent / "docs" / "reference"


def test_a_page_that_is_no_more_is_taken_away_and_what_others_wrote_is_not(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text(f"{MADE}\n\n# Module gone\n")
    (tmp_path / "mine.md").write_text("# My own notes\n")

    write_reference(tmp_path)

    assert not (tmp_path / "gone.md").exists()
    assert (tmp_path / "mine.md").exists()


def test_the_pages_say_what_the_declarations_say(tmp_path: Path) -> None:
    written = {path.name: path.read_text() for path in write_reference(tmp_path)}

    assert {path.name: path.read_text() for path in PAGES.iterdir()} == written, "run `make reference`"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.title)
def test_every_declaration_has_a_sentence(entry: Entry) -> None:
    first = entry.doc.split("\n\n")[0]
    assert first[:1].strip()
    assert first.endswith((".", ".)"))


def names_used(code: CodeType) -> set[str]:
    """The local names that some code reads, and the code inside it."""
    inner = [names_used(one) for one in code.co_consts if isinstance(one, CodeType)]
    here = {one.argval for one in dis.get_instructions(code) if one.opname.startswith("LOAD_")}
    return here.union(*inner)


FORMS = [
    (f"{function.name}() in {method.__name__}", function, method)
    for module in gather()
    for function in module.functions
    for method in (function.call, function.begin)
    if method is not None and method is not only_asynchronous
]


@pytest.mark.parametrize(("function", "method"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_an_argument_of_a_function_counts_or_its_doc_says_that_it_does_not(
    function: Function, method: Callable[..., object]
) -> None:
    code = method.__code__  # type: ignore[attr-defined]
    arguments = code.co_varnames[2 : code.co_argcount]  # behind the module and the context
    assert len(arguments) == len(function.params)
    ignored = {
        param.name for param, name in zip(function.params, arguments, strict=True) if name not in names_used(code)
    }
    assert [name for name in ignored if f"`{name}`" not in function.doc] == []


@pytest.mark.parametrize("spelled", ["name", "short", "title"])
def test_everything_is_found_by_how_it_is_told(spelled: str) -> None:
    assert [entry.title for entry in ENTRIES if entry not in find(ENTRIES, getattr(entry, spelled))] == []


@given(st.text(max_size=40))
@example("$(((")
@example("{}")
@example("")
def test_whatever_is_asked_for_has_an_answer(wanted: str) -> None:
    found = find(ENTRIES, wanted)

    assert all(isinstance(entry, Entry) for entry in found)
    assert len(near(ENTRIES[:50], wanted)) <= 3


@pytest.mark.parametrize("module", gather(), ids=lambda module: module.name)
def test_every_module_says_what_it_is_for(module: ModuleFacts) -> None:
    assert module.intro.split("\n\n")[0].endswith(".")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A server that has every module, before its first fork."""
    script = tmp_path / "all.cfg"
    database = f'db_default_url = "sqlite:{tmp_path / "all.db"}"\n'
    script.write_text(database + "".join(f'loadmodule "{name}.so"\n' for name in sorted(CATALOG, key="usrloc".__ne__)))
    program = Program.load(script)
    folder = RuntimeFolder.make(tmp_path / "run")
    house = furnish(program, settle({}, [], udp_workers=1), folder, [], [])
    yield house
    house.handover.close()
    folder.close()


def test_mi_commands_are_told_by_their_names_as_the_server_has_them(house: House) -> None:
    told = {name for entry in ENTRIES if entry.sort is Sort.COMMAND for name in entry.names}

    assert told == set(house.registry.all_names())


def test_statistics_are_told_as_the_server_has_them(house: House) -> None:
    told = {entry.name.replace("DOMAIN", "location") for entry in ENTRIES if entry.sort is Sort.STATISTIC}

    # Those of single processes are told once, of the process N.
    there = {re.sub(r"(:|-proc-)\d+(?=-|$)", r"\1N", name) for name in house.statistics.find("all")}
    assert told == there


def test_the_defaults_of_the_globals_are_the_ones_that_hold() -> None:
    said = {found.name: found.default for found in GLOBALS.values() if found.effect and found.default is not None}
    socket = str(said.pop("socket"))

    assert settle(said, [socket]) == settle({}, [])


ENDINGS = ("_col", "_column", "_port")
"""Of parameters whose names are put together from words."""


def texts_in_use() -> Iterator[str]:
    """Regular expressions of all texts in the sources that stand outside of a parameter's declaration."""
    waiting: list[ast.AST] = [ast.parse(path.read_text()) for path in Path(runtime.__path__[0]).rglob("*.py")]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Call(func=ast.Name("Parameter" | "ignored" | "Global" | "_ignored")):
                continue
            case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=end)]) if end in ENDINGS:
                yield rf"\w+{end}"
            case ast.Constant(value=str(text)):
                yield re.escape(text)
            case _:
                waiting.extend(ast.iter_child_nodes(node))


IN_USE = re.compile("|".join(sorted(texts_in_use())))


def test_a_text_that_stands_nowhere_is_not_in_use() -> None:
    assert not IN_USE.fullmatch("no_such_" + "parameter")


@pytest.mark.parametrize(("module", "parameter"), [pair for pair in PARAMETERS if pair[1].effect])
def test_a_parameter_that_has_an_effect_is_read_somewhere(module: str, parameter: Parameter) -> None:
    assert IN_USE.fullmatch(parameter.name)


@pytest.mark.parametrize("name", [name for name, found in GLOBALS.items() if found.effect])
def test_a_global_that_has_an_effect_is_read_somewhere(name: str) -> None:
    assert IN_USE.fullmatch(name)


def test_every_word_of_the_grammar_is_told() -> None:
    grammar = (Path(runtime.__path__[0]) / "script" / "grammar.lark").read_text()
    rules = "\n".join(line.partition("//")[0] for line in grammar.splitlines())

    assert set(re.findall(r'"([A-Za-z_]{2,})"', rules)) - set(GLOBALS) <= set(WORDS)


def test_what_has_no_effect_says_so() -> None:
    declared = [*GLOBALS.values(), *(parameter for _, parameter in PARAMETERS)]

    assert [one.name for one in declared if one.effect is one.doc.startswith("No effect: ")] == []


@pytest.mark.parametrize("name", ["raise_event", "subscribe_event", "event_subscribe", "events_list"])
def test_what_modules_give_that_are_always_there_is_the_cores(name: str) -> None:
    assert {entry.module for entry in find(ENTRIES, name)} == {"core"}
