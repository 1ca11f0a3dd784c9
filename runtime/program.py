"""The script that a server runs, with its modules, and how a newer text of it takes over while traffic flows."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import msgpack

from runtime.clock import epoch_now
from runtime.context import Context, Value
from runtime.errors import NotLoaded
from runtime.futures import FutureRequest
from runtime.listen import DEFAULT_PORT, PROTOCOLS, AddressesOf, concrete
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.own_modules import import_module
from runtime.pyscript.functions import WatchMethod
from runtime.pyscript.load import PyChecked
from runtime.pyscript.load import load as load_python
from runtime.pyscript.routes import make_script
from runtime.pyscript.variables import Variables
from runtime.script.check import Checked
from runtime.script.compile import compile_script, known_to
from runtime.script.declare import Begin, Module, Ref
from runtime.script.evaluating import evaluator
from runtime.script.formats import NotAVariable, parse_format
from runtime.script.functions import World
from runtime.script.known import Known
from runtime.script.load import ModuleFault, load, read_file
from runtime.script.problems import Place, ScriptProblem
from runtime.script.script import RouteCode, Script
from runtime.script.statements import Watch
from runtime.script.tree import Variable
from runtime.transports.interfaces import addresses_of

log = logging.getLogger("layby.script")

_BUNDLE: Final = "script"


WORLD: Final = World(
    wall_clock=epoch_now,
    random=secrets.SystemRandom().random,  # the kernel's: a seeded generator would be the same in every fork
    process_id=os.getpid,
    started_at=epoch_now(),
)


class RunsScripts(Protocol):
    """The process that compiled routes call back."""

    def park(
        self, script: Script, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place
    ) -> None: ...

    def launch(
        self, script: Script, context: Context, begin: Begin, report_route: str | None, param: str | None, place: Place
    ) -> int: ...

    def wait(
        self,
        script: Script,
        context: Context,
        begin: Begin | FutureRequest,
        resume: RouteCode,
        place: Place,
        *,
        abandon: Callable[[], None],
    ) -> bool: ...

    def start(
        self,
        script: Script,
        context: Context,
        begin: Begin,
        report_to: RouteCode | None,
        param: str | None,
        place: Place,
    ) -> int: ...

    def log(self, level: int, text: str, context: Context, place: Place | None) -> None: ...

    def own_log_level(self) -> int: ...

    def set_log_level(self, which: Literal["log", "xlog"], level: int | None) -> None: ...


class Target:
    """Where compiled routes find the process that they run in: compiled before the fork, pointed at one after it.

    Attributes:
        process: it.
        log_level: gives the level up to which its `xlog` writes. By itself, since it is asked before each line of the
            script's log, also where none is written.
    """

    process: RunsScripts
    log_level: Callable[[], int]


class Switch:
    """The hooks of one script. It adds which script calls, so that what is parked resumes on that very one."""

    script: Script

    def __init__(self, target: Target) -> None:
        self._target = target

    def park(self, context: Context, begin: Begin, resume_route: str, timeout_s: int | None, place: Place) -> None:
        self._target.process.park(self.script, context, begin, resume_route, timeout_s, place)

    def launch(self, context: Context, begin: Begin, report_route: str | None, param: str | None, place: Place) -> int:
        return self._target.process.launch(self.script, context, begin, report_route, param, place)

    def wait(
        self,
        context: Context,
        begin: Begin | FutureRequest,
        resume: RouteCode,
        place: Place,
        *,
        abandon: Callable[[], None],
    ) -> bool:
        return self._target.process.wait(self.script, context, begin, resume, place, abandon=abandon)

    def start(
        self, context: Context, begin: Begin, report_to: RouteCode | None, param: str | None, place: Place
    ) -> int:
        return self._target.process.start(self.script, context, begin, report_to, param, place)

    def log(self, level: int, text: str, context: Context, place: Place | None) -> None:
        self._target.process.log(level, text, context, place)

    def log_level(self) -> int:
        return self._target.log_level()

    def own_log_level(self) -> int:
        return self._target.process.own_log_level()

    def set_log_level(self, which: Literal["log", "xlog"], level: int | None) -> None:
        self._target.process.set_log_level(which, level)


@dataclass(slots=True)
class Program:
    """A compiled script and its modules.

    Args:
        path: the script file.
        checked: what the checker made of it.
        script: the routes, compiled. Whoever parks a context keeps the script that it was parked under.
        modules: the instances, by name. A reload keeps them: it takes new routes, not new settings.
        listen: addresses from the command line, in place of the script's.
        options: `$argv`, from the command line.
        mi_http: address and port of MI over HTTP from the command line, in place of the script's.
        generation: grows by one with each reload.
        watch: told of the statements that run; see `compile_script`.
    """

    path: Path
    checked: Checked
    script: Script
    modules: Mapping[str, Module]
    target: Target
    listen: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    mi_http: tuple[str, int] | None = None
    generation: int = 0
    watch: Watch | None = None

    @classmethod
    def load(
        cls,
        path: Path,
        listen: Sequence[str] = (),
        interfaces: AddressesOf = addresses_of,
        options: Mapping[str, str] | None = None,
        mi_http: tuple[str, int] | None = None,
        watch: Callable[[Checked], Watch] | None = None,
    ) -> Program:
        """Read, check and compile a script file.

        Args:
            path: the file.
            listen: addresses that stand in for the script's ``socket=`` lines.
            interfaces: gives the addresses of this machine's interfaces.
            options: what `$argv(name)` says.
            mi_http: address and port where MI is to be had over HTTP, whatever the script says of that.
            watch: gives what is told of the statements that run, see `compile_script`. Scripts in Python have none.

        Raises:
            NotLoaded: it has errors.
        """
        checked = _checked(path, listen, interfaces=interfaces, mi_http=mi_http)
        known = {**CATALOG, **checked.own}
        modules: dict[str, Module] = {
            name: kind(checked.settings.get(name))
            for name, kind in [*ALWAYS.items(), *((name, known[name]) for name in checked.modules)]
        }
        target = Target()
        options = options or {}
        watched = None if watch is None else watch(checked)
        script = _compiled(checked, modules, target, options, watched)
        return cls(path, checked, script, modules, target, tuple(listen), options, mi_http, watch=watched)

    def watched(self, watch: Watch, watch_method: WatchMethod) -> Script:
        """The script that runs now once more, compiled so that it says what it does.

        Args:
            watch: told of the statements of a script in OpenSIPS's language when they begin.
            watch_method: for one in Python, whose statements are Python's own: told of what it calls.
        """
        return _compiled(self.checked, self.modules, self.target, self.options, watch, watch_method)

    def reader(self, text: str) -> Callable[[Context], Value]:
        """Reads a text with variables in it, for a module whose parameter is one.

        Args:
            text: as a script would have it between quotes.

        Raises:
            ValueError: it cannot be read, or names a variable that there is not.
        """
        known, _ = self._names()
        try:
            names = [part.name for part in parse_format(text, Place("", 1, 1)).parts if isinstance(part, Variable)]
        except NotAVariable as error:
            raise ValueError(str(error)) from error
        if unknown := [name for name in names if name not in known.variables]:
            raise ValueError(f"there is no variable ${unknown[0]}")
        evaluate = evaluator(known)
        return lambda context: evaluate(context, text)

    def evaluator(self) -> Callable[[Context, Value], Value]:
        """Reads texts with variables in them that are only made while the server runs; NULL for what is none."""
        return evaluator(self._names()[0])

    def ref(self, spelling: str) -> Ref:
        """A variable that a module's parameter names, to be written.

        Raises:
            ValueError: there is none of that spelling, or it cannot be written.
        """
        known, switch = self._names()
        try:
            return Variables(known, switch, Place("", 1, 1)).ref(spelling)
        except KeyError as error:
            raise ValueError(str(error.args[0])) from error

    def _names(self) -> tuple[Known, Switch]:
        """What a script may name, apart from any script."""
        switch = Switch(self.target)
        switch.script = self.script
        return known_to(self.checked, self.modules, switch, dataclasses.replace(WORLD, options=self.options)), switch

    def warnings(self) -> list[ScriptProblem]:
        """What is odd about the script and does not keep it from running."""
        found = list(self.checked.warnings)
        if self.script.routes.request is None:
            shown = "@route.request" if isinstance(self.checked, PyChecked) else "route { }"
            text = f"there is no {shown}: no SIP request will be answered"
            found.append(ScriptProblem(Place(str(self.path), 1, 1), text, "warning", "no-request-route"))
        return found

    def publish(self, folder: Path) -> int:
        """Check the script file as it is now and put it where `catch_up()` finds it.

        Returns:
            Its generation.

        Raises:
            NotLoaded: it has errors, or loads other modules than the running one.
            OSError: it cannot be read.
        """
        sources: dict[str, bytes] = {}

        def read(path: Path) -> bytes:
            sources[str(path)] = read_file(path)
            return sources[str(path)]

        # One after the other, or the later text could get the earlier number.
        with (folder / f"{_BUNDLE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            checked, _ = self._compile(read)
            self._compile(_reader(sources))  # what will be caught up with is what has been checked
            generation = _published(folder)[0] + 1
            scratch = folder / f"{_BUNDLE}.new"
            scratch.write_bytes(msgpack.packb([generation, sources]))
            scratch.replace(folder / _BUNDLE)
        for module, name in self._not_taken(checked):
            log.warning("%s: modparam %s of %s is another now, and is taken at the next start", self.path, name, module)
        return generation

    def is_published(self, folder: Path) -> bool:
        """Whether there is another script to be caught up with than the one from the start."""
        return (folder / _BUNDLE).exists()

    def is_behind(self, folder: Path) -> bool:
        """Whether what was published last is newer than what runs."""
        return _published(folder)[0] > self.generation

    def catch_up(self, folder: Path) -> bool:
        """Take over what was published last, unless it runs already; whether something changed.

        Every process does so for itself from the same text, so that all compile the same, and a process that is
        started later does so before its first message.
        """
        generation, sources = _published(folder)
        # The order in which two reloads reach a process says nothing; the later text wins everywhere.
        if generation <= self.generation:
            return False
        checked, self.script = self._compile(_reader(sources))
        self.checked = dataclasses.replace(checked, settings=self.checked.settings)  # those that the modules have
        self.generation = generation
        return True

    def _compile(self, read: Callable[[Path], bytes]) -> tuple[Checked, Script]:
        checked = _checked(self.path, self.listen, read, self._own_module, mi_http=self.mi_http)
        if set(checked.modules) != set(self.checked.modules):
            text = "loads other modules than the running script; a reload takes new routes only, so restart instead"
            raise NotLoaded([ScriptProblem(Place(str(self.path), 1, 1), text, code="bad-setting")])
        checked = dataclasses.replace(checked, sockets=self.checked.sockets)  # those are open, whatever it says now
        return checked, _compiled(checked, self.modules, self.target, self.options, self.watch)

    def _not_taken(self, checked: Checked) -> list[tuple[str, str]]:
        """The parameters of modules that a text sets otherwise than they are, each with its module."""
        found = []
        for module in checked.modules:
            now, then = self.checked.settings.get(module, {}), checked.settings.get(module, {})
            found += [(module, name) for name in {**now, **then} if now.get(name) != then.get(name)]
        return found

    def _own_module(self, path: Path) -> type[Module]:
        """The running module of that name: a reload takes routes, and no other code."""
        found = self.checked.own.get(path.stem)
        if found is None:
            raise ModuleFault(f"{path.name} is not loaded; a reload takes new routes only, so restart instead")
        return found


def _compiled(
    checked: Checked,
    modules: Mapping[str, Module],
    target: Target,
    options: Mapping[str, str],
    watch: Watch | None,
    watch_method: WatchMethod | None = None,
) -> Script:
    switch = Switch(target)
    world = dataclasses.replace(WORLD, options=options)
    if isinstance(checked, PyChecked):
        switch.script = make_script(checked, modules, switch, world, watch_method)
    else:
        switch.script = compile_script(checked, modules, switch, world, watch)
    return switch.script


def place_of(path: Path, word: str) -> Place:
    """Where a word stands in a script file, for errors that are found after it was read."""
    lines = path.read_text("latin-1").split("\n")
    for number, line in enumerate(lines, 1):
        if word and (column := line.partition("#")[0].find(word)) >= 0:
            return Place(str(path), number, column + 1)
    return Place(str(path), 1, 1)


def _published(folder: Path) -> tuple[int, dict[str, bytes]]:
    try:
        generation, sources = msgpack.unpackb((folder / _BUNDLE).read_bytes())
    except FileNotFoundError:
        return 0, {}
    return int(generation), dict(sources)


def _reader(sources: Mapping[str, bytes]) -> Callable[[Path], bytes]:
    def read(path: Path) -> bytes:
        found = sources.get(str(path))
        if found is None:  # as on the disk when it was published: an optional include that was not there
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    return read


def _checked(
    path: Path,
    listen: Sequence[str],
    read: Callable[[Path], bytes] = read_file,
    import_module: Callable[[Path], type[Module]] = import_module,
    interfaces: AddressesOf = addresses_of,
    mi_http: tuple[str, int] | None = None,
) -> Checked:
    load_it = load_python if path.suffix == ".py" else load
    result = load_it(path, catalog=CATALOG, always=ALWAYS, read=read, import_module=import_module)
    if isinstance(result, list):
        raise NotLoaded(result)
    result = dataclasses.replace(result, sockets=_sockets(result, listen, interfaces))
    return result if mi_http is None else _with_mi_http(result, *mi_http)


def _with_mi_http(checked: Checked, host: str, port: int) -> Checked:
    """The same script with MI over HTTP there. Whatever else it says of the two modules, as of tokens, holds."""
    modules = [*checked.modules, *(name for name in ("httpd", "mi_http") if name not in checked.modules)]
    httpd = {**checked.settings.get("httpd", {}), "ip": host, "port": port}
    return dataclasses.replace(checked, modules=modules, settings={"mi_http": {}, **checked.settings, "httpd": httpd})


def _sockets(checked: Checked, listen: Sequence[str], interfaces: AddressesOf) -> list[str]:
    """The addresses to listen on, one by one: what the script says of its sockets goes by their number."""
    globals_ = checked.globals
    host, port = globals_.get("advertised_address"), globals_.get("advertised_port")
    ports = {
        protocol: int(checked.settings.get(f"proto_{protocol}", {}).get(f"{protocol}_port", DEFAULT_PORT))
        for protocol in PROTOCOLS
    }
    return concrete(
        listen or checked.sockets or (f"udp:127.0.0.1:{ports['udp']}",),
        interfaces,
        ports,
        (str(host) if host else None, port if isinstance(port, int) and 0 < port < 65536 else None),
    )
