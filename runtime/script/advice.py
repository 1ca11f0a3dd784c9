"""What the article "Running MI commands from script" advises, said where a script does otherwise.

Source: that article (OpenSIPS blog, 2021), sections "Synchronicity" and "Pro Tips".
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from mi_script.access import Access, UnknownName, access_of, named, words
from mi_script.builtin import Builtin
from mi_script.calls import Call, Fault, prepare
from mi_script.commands import Command, Registry, commands_of
from mi_script.script import script_call, split_commands
from runtime.script import tree
from runtime.script.check_body import Used
from runtime.script.check_pairs import Pair
from runtime.script.elsewhere import Elsewhere
from runtime.script.problems import Near, Place, Problems

_MODULE: Final = "mi_script"
_CORE: Final = "core"
_RELOAD: Final = re.compile(r"(.*[_:])?reload(_routes)?")
_LATER_IN_OPENSIPS: Final = frozenset(("pua_publish", "rtp_relay_update", "rtp_relay_update_callid"))
_SLOW_IN_OPENSIPS: Final = frozenset(
    ("dlg_cluster_sync", "mem_pkg_dump", "mem_rpm_dump", "mem_shm_dump", "shm_check", "ul_cluster_sync")
)
"""Commands that layby does not have: scripts are written for other servers too."""
_MOST_RECIPES: Final = 12

_ASYNC: Final = "write async(mi(…), route): the message waits for the answer, and this process serves others meanwhile"
_LAUNCH: Final = "write launch(mi(…), route) unless the message needs the result: then nothing waits for it"


class Commands:
    """The MI commands that a script can call.

    Args:
        always: the classes that give the core's commands.
        modules: those that the script loads, by their names.
        elsewhere: the others.
        complete: whether there is no further module that could give more.
    """

    def __init__(
        self, always: Iterable[type], modules: Mapping[str, type], elsewhere: Elsewhere, *, complete: bool
    ) -> None:
        self._classes = [*((_CORE, one) for one in always), *modules.items()]
        self.elsewhere = elsewhere
        self.complete = complete

    @functools.cached_property
    def registry(self) -> Registry:
        """All of them, read when the first call is looked at."""
        registry = Registry(commands_of(Builtin, _CORE))
        for name, module in self._classes:
            # What a module of the script's own declares wrongly is told at the start, with all that it says.
            with contextlib.suppress(ValueError):
                registry.extend(commands_of(module, name))
        return registry


class _Wanted(NamedTuple):
    """A command that a call names: its parameters are None where they are only known when the script runs."""

    method: str
    call: Call | None
    used: Used


def advise(
    calls: Iterable[tuple[Used, bool]],
    commands: Commands,
    pairs: Mapping[Place, Pair],
    settings: Mapping[str, Any],
    problems: Problems,
) -> None:
    """Look at every call of `mi()` and `mi_gather()`.

    Args:
        calls: each call of a function, and whether it stands where traffic is served.
        commands: the commands that there are.
        pairs: what is known of the AVPs that are given to calls.
        settings: the module's parameters, as far as the script sets them.
        problems: where to note what is found.
    """
    compat, access = str(settings.get("compat", "")), None
    with contextlib.suppress(UnknownName):  # told by `check_named`
        if "allow" in settings or "deny" in settings:
            access = access_of(commands.registry, settings.get("allow", ()), settings.get("deny", ()))
    for used, serves in calls:
        if used.function.module == _MODULE and used.function.name in ("mi", "mi_gather"):
            for wanted in _wanted(used, pairs.get(used.node.place), compat):
                if not _is_denied(wanted, access, commands, problems):
                    _advise(wanted, serves, commands, problems)


def check_named(settings: Iterable[tree.ModParam], commands: Commands, problems: Problems) -> None:
    """See that the words of parameters that name MI commands, as `allow` and `deny` do, name some.

    Args:
        settings: where the script sets such parameters.
        commands: the commands that there are; nothing is told where there may be more.
        problems: where to note what is found.
    """
    for item in settings if commands.complete else ():
        for word in words(str(item.value)):
            try:
                named(commands.registry, word)
            except UnknownName:
                message, near = _no_command(word, commands)
                place, said = item.place, f"parameter {item.name} of module {item.module}: {message}"
                problems.tell(place, "bad-parameter", said, near=near)


def _is_denied(wanted: _Wanted, access: Access | None, commands: Commands, problems: Problems) -> bool:
    command = commands.registry.find(wanted.method)
    reason = access.refuses(command) if access and command else None
    if reason is None:
        return False
    message = f"the MI command {wanted.method} will not be run: modparam of {_MODULE} says so, and $rc will be -403"
    problems.tell(wanted.used.node.place, "denied-mi-command", message)
    return True


def _wanted(used: Used, pair: Pair | None, compat: str) -> Iterator[_Wanted]:
    text = used.node.arguments[0] if used.node.arguments else None
    if not isinstance(text, tree.Text):
        return
    for one in split_commands(text.value) if used.function.name == "mi_gather" else [text.value]:
        method = one.strip().partition(" ")[0]
        if method and "$" not in method:
            yield _Wanted(method, _call(one, used, pair, compat), used)


def _call(text: str, used: Used, pair: Pair | None, compat: str) -> Call | None:
    """The call as it will be built, where enough is constant."""
    if any(argument is not None for argument in used.node.arguments[2:]):
        if pair is None or (pair.names is not None and not pair.constant):
            return None
        call = script_call(text, pair.names, pair.values, compat)
    elif "$" in text:
        return None
    else:
        call = script_call(text, compat=compat)
    return call if isinstance(call, Call) else None


def _advise(wanted: _Wanted, serves: bool, commands: Commands, problems: Problems) -> None:
    alone = wanted.used.function.name == "mi"  # among several, one more costs little
    command = commands.registry.find(wanted.method)
    if command is None:
        _unknown(wanted, commands, problems)
    elif wanted.call is not None:
        _parameters(wanted.call, command, wanted, commands, problems)
    if command is not None and command.instead and wanted.used.form != "launch" and alone:
        _needless(wanted, command, problems)
    if serves:
        _blocking(wanted, command or commands.elsewhere.commands.get(wanted.method), problems)


def _unknown(wanted: _Wanted, commands: Commands, problems: Problems) -> None:
    if not commands.complete:
        return
    message, near = _no_command(wanted.method, commands)
    problems.tell(wanted.used.node.place, "unknown-mi-command", message, near=near)


def _no_command(name: str, commands: Commands) -> tuple[str, Near | None]:
    """That no command of that name can be run, and what was most likely meant."""
    if meant := commands.registry.called(name):
        return f"the MI command {name} may be any of {', '.join(meant)}", None
    other = commands.elsewhere.commands.get(name)
    if other is not None:
        message = f'the MI command {name} comes with the module {other.module}: add loadmodule "{other.module}.so"'
        return message, None
    return f"there is no MI command {name}", Near(name, commands.registry.all_names(), commands.elsewhere.commands)


def _parameters(call: Call, command: Command, wanted: _Wanted, commands: Commands, problems: Problems) -> None:
    fault = prepare(commands.registry, call)
    if not isinstance(fault, Fault):
        return
    shown = [f"({', '.join(recipe)})" for recipe in command.recipes[:_MOST_RECIPES]]
    given = _given(call)
    message = f"the MI command {wanted.method} cannot be called with {given}: {(fault.data or fault.message).lower()}"
    problems.tell(wanted.used.node.place, "mi-parameters", message, help=f"it takes {' or '.join(shown)}")


def _given(call: Call) -> str:
    if isinstance(call.params, dict):
        return f"({', '.join(call.params)})"
    count = len(call.params or ())
    return "no parameters" if not count else "1 parameter" if count == 1 else f"{count} parameters"


def _needless(wanted: _Wanted, command: Command, problems: Problems) -> None:
    place, message = wanted.used.node.place, f"mi() for {wanted.method}: {command.instead} does this"
    help = "a function or variable of the script costs a fraction of a call of the management interface"
    problems.tell(place, "needless-mi", message, help=help)


def _blocking(wanted: _Wanted, command: Command | None, problems: Problems) -> None:
    """What keeps a process from its traffic, or a message waiting that need not wait."""
    form, place, method = wanted.used.form, wanted.used.node.place, wanted.method
    if form == "launch":
        return
    if _RELOAD.fullmatch(method):
        holds = "holds this message until it has ended" if form else "stops this process, and all that it serves"
        problems.tell(place, "reload-not-launched", f"{method} is a reload, and here it {holds}", help=_LAUNCH)
        return
    if form:
        return
    if command.later if command else method in _LATER_IN_OPENSIPS:
        reason = "answers later, and this process serves nothing until it does"
    elif command.cost == "slow" if command else method in _SLOW_IN_OPENSIPS:
        reason = "can take long, and this process serves nothing meanwhile"
    else:
        return
    problems.tell(place, "blocking-mi", f"the MI command {method} {reason}", help=_ASYNC)
