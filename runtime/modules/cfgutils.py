"""Module cfgutils: variables that all processes share, chance, the environment, and pauses that block the process."""

from __future__ import annotations

import os
import re
import time
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.clock import epoch_now
from runtime.context import Context, Value
from runtime.errors import SettingsError
from runtime.modules.base import RuntimeModule
from runtime.modules.texts import bytes_text, script_text
from runtime.process import Process
from runtime.script.access import Unwritable
from runtime.script.changes import integer_of
from runtime.script.declare import Kind, Param, Parameter, Ref, function, ignored, variable
from runtime.script_process import ScriptProcess
from runtime.store import MAX_KEY, MAX_VALUE, StoreError, Table

if TYPE_CHECKING:
    from runtime.house import House

MAX_SLEEP_S: Final = 3600
_INITIAL: Final = re.compile(r"(?P<name>[^=]+)=(?:i:(?P<integer>-?[0-9]{1,18})|s:(?P<text>.*))", re.DOTALL)
_PROBABILITY: Final = "\0probability"
"""Under which name the probability stands among the shared variables; no script can write a NUL."""


class Cfgutils(RuntimeModule):
    """The module as a script loads it."""

    name = "cfgutils"
    parameters = (
        Parameter(
            "shvset",
            str,
            repeats=True,
            doc='The first value of a `$shv`: `"name=i:5"` an integer, `"name=s:text"` text.',
        ),
        Parameter("varset", str, repeats=True, doc="The first value of a `$var` in every process, as for shvset."),
        Parameter("initial_probability", int, 10, doc="How often rand_event() is true, in percent."),
        Parameter("hash_file", str, "", doc="The file whose hash is taken at the start, for get_config_hash."),
        ignored("lock_pool_size", int, 32, "there are no locks."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._initial = dict(map(_initial, self.settings["shvset"]))
        self._variables = dict(map(_initial, self.settings["varset"]))
        self._table: Table = None
        self._hash = ""

    def furnish(self, house: House) -> None:
        super().furnish(house)
        if self.settings["hash_file"]:
            try:
                self._hash = _hash_of(self.settings["hash_file"])
            except OSError as error:
                raise SettingsError(f"{error.filename}: {error.strerror}", "hash_file") from error

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._table = process.store.table("shv")

    def opened(self) -> None:
        if isinstance(self.process, ScriptProcess):
            self.process.variables.update(self._variables)

    # Variables of all processes

    @variable("shv", setter="set_shv")
    def shv(self, c: Context, inner: str) -> Value:
        """`$shv(name)`: a variable that all processes share; 0 until something is assigned, and again after NULL."""
        return self._shared(inner)

    def set_shv(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$shv(name)`."""
        try:
            self._share(inner, value)
        except StoreError as error:
            raise Unwritable(f"$shv({inner[:64]}): {error}") from error

    def _shared(self, name: str) -> Value:
        key = name.encode("latin-1", "replace")
        if not 0 < len(key) <= MAX_KEY:
            return 0
        with self.process.store.reading() as transaction:
            packed = transaction.get(key, db=self._table)
        if packed is None:
            return self._initial.get(name, 0)
        value: Value = msgpack.unpackb(packed)
        return value

    def _share(self, name: str, value: Value) -> None:
        key, packed = name.encode("latin-1", "replace"), msgpack.packb(0 if value is None else value)
        if not 0 < len(key) <= MAX_KEY or len(packed) > MAX_VALUE:
            raise StoreError(f"the name may have {MAX_KEY} bytes, the value {MAX_VALUE}")
        with self.process.store.writing() as transaction:
            transaction.put(key, packed, db=self._table)

    @variable("env")
    def env(self, c: Context, inner: str) -> Value:
        """`$env(name)`: a variable of the environment that the server was started in."""
        value = os.environb.get(inner.encode("latin-1", "replace"))
        return None if value is None else value.decode("latin-1")

    # Chance

    @function("rand_event", Param("probability", Kind.INTEGER, optional=True))
    def rand_event(self, c: Context, probability: int | None) -> int:
        """True so many times out of a hundred; as often as was set for all processes, where no number is given."""
        percent = self._probability() if probability is None else probability
        return 1 if _random_percent() < percent else -1

    @function("rand_set_prob", Param("probability", Kind.INTEGER))
    def rand_set_prob(self, c: Context, probability: int) -> int:
        """Set how often rand_event() is true in all processes, 0 to 99 percent; -1 for another number."""
        if not 0 <= probability <= 99:
            return -1
        return self._set_probability(probability)

    @function("rand_reset_prob")
    def rand_reset_prob(self, c: Context) -> int:
        """Set how often rand_event() is true back to the parameter initial_probability."""
        return self._set_probability(int(self.settings["initial_probability"]))

    @function("rand_get_prob")
    def rand_get_prob(self, c: Context) -> int:
        """Gives how often rand_event() is true, in percent; 0 ends the script, as anything that gives 0."""
        return self._probability()

    def _probability(self) -> int:
        found = self._shared(_PROBABILITY)
        # One more is kept than is meant: 0 says that nothing was set.
        return found - 1 if isinstance(found, int) and found else int(self.settings["initial_probability"])

    def _set_probability(self, percent: int) -> int:
        try:
            self._share(_PROBABILITY, percent + 1)
        except StoreError:
            return -1
        return 1

    # Lists and times

    @function("set_count", Param("list", Kind.AVP), Param("count", Kind.OUTPUT))
    def set_count(self, c: Context, values: Ref, count: Ref) -> int:
        """Count the values of an AVP into a variable."""
        count.set(c, len(values.all(c)))
        return 1

    @function(
        "ts_usec_delta",
        *(Param(name, Kind.INTEGER) for name in ("sec1", "usec1", "sec2", "usec2")),
        Param("delta", Kind.OUTPUT),
    )
    def ts_usec_delta(self, c: Context, sec1: int, usec1: int, sec2: int, usec2: int, delta: Ref) -> int:
        """How many microseconds lie between two times, into a variable."""
        delta.set(c, abs((sec1 - sec2) * 1_000_000 + usec1 - usec2))
        return 1

    @function(
        "get_accurate_time",
        *(Param(name, Kind.OUTPUT) for name in ("seconds", "microseconds")),
        Param("text", Kind.OUTPUT, optional=True),
    )
    def get_accurate_time(self, c: Context, seconds: Ref, microseconds: Ref, text: Ref | None) -> int:
        """The time now, in seconds and microseconds since 1970, into two variables; into a third as ``12.000345``."""
        now = int(epoch_now() * 1_000_000)
        seconds.set(c, now // 1_000_000)
        microseconds.set(c, now % 1_000_000)
        if text is not None:
            text.set(c, f"{now // 1_000_000}.{now % 1_000_000:06}")
        return 1

    # Pauses

    @function("sleep", Param("seconds", Kind.INTEGER))
    def sleep(self, c: Context, seconds: int) -> int:
        """Stop this process for some seconds (at most an hour). It serves nothing meanwhile."""
        return _pause(seconds)

    @function("usleep", Param("microseconds", Kind.INTEGER))
    def usleep(self, c: Context, microseconds: int) -> int:
        """Stop this process for some microseconds. It serves nothing meanwhile."""
        return _pause(microseconds / 1_000_000)

    # MI commands. Their strings are real text; a script holds bytes spelled as latin-1.

    @command("shv_get", (), ("name",), idempotent=True, aliases=("cfgutils:shv_get",), instead="$shv(name)")
    def mi_shv_get(self, params: Params) -> Json:
        """A variable that all processes share, or all of them that were assigned, or have a first value."""
        if "name" not in params:
            return [[_told(name, self._shared(name)) for name in self._names()]]
        name = bytes_text(params.text("name"))
        if "\0" in name or not self._is_assigned(name):
            raise MiError(404, "Not found")
        return {"VAR": _told(name, self._shared(name))}

    def _is_assigned(self, name: str) -> bool:
        key = name.encode("latin-1", "replace")
        if name in self._initial or not 0 < len(key) <= MAX_KEY:
            return name in self._initial
        with self.process.store.reading() as transaction:
            return transaction.get(key, db=self._table) is not None

    def _names(self) -> list[str]:
        with self.process.store.reading() as transaction:
            stored = [bytes(key).decode("latin-1") for key, _ in transaction.cursor(db=self._table)]
        return [name for name in dict.fromkeys([*self._initial, *stored]) if name != _PROBABILITY]

    @command(
        "shv_set",
        ("name", "type", "value"),
        idempotent=True,
        aliases=("cfgutils:shv_set",),
        instead="$shv(name)",
    )
    def mi_shv_set(self, params: Params) -> Json:
        """Assign a variable that all processes share; `type` is ``int`` or ``str``."""
        text = bytes_text(params.text("value"))
        value = text if params.text("type")[:1] in ("s", "S") else integer_of(text)
        if value is None:
            raise MiError(500, "bad integer value")
        name = bytes_text(params.text("name"))
        if "\0" in name:
            raise MiError(500, "cannot set shv value", "a name has no NUL")
        try:
            self._share(name, value)
        except StoreError as error:
            raise MiError(500, "cannot set shv value", str(error)) from error
        return "OK"

    @command(
        "rand_set_prob",
        ("prob_proc",),
        idempotent=True,
        aliases=("cfgutils:rand_set_prob",),
        instead="rand_set_prob()",
    )
    def mi_rand_set_prob(self, params: Params) -> Json:
        """Set how often rand_event() is true, 0 to 100 percent."""
        percent = params.integer("prob_proc")
        if not 0 <= percent <= 100:
            raise MiError(400, "Bad parameter value")
        return self._with_probability(percent)

    @command("rand_reset_prob", (), idempotent=True, aliases=("cfgutils:rand_reset_prob",), instead="rand_reset_prob()")
    def mi_rand_reset_prob(self, params: Params) -> Json:
        """Set how often rand_event() is true back to the parameter initial_probability."""
        return self._with_probability(int(self.settings["initial_probability"]))

    def _with_probability(self, percent: int) -> Json:
        if self._set_probability(percent) < 0:
            raise MiError(500, "Internal error", "the store is full")
        return "OK"

    @command("rand_get_prob", (), idempotent=True, aliases=("cfgutils:rand_get_prob",), instead="rand_get_prob()")
    def mi_rand_get_prob(self, params: Params) -> Json:
        """How often rand_event() is true, in percent."""
        return {"actual probability percent": self._probability()}

    @command("get_config_hash", (), idempotent=True, aliases=("cfgutils:get_config_hash",))
    def get_config_hash(self, params: Params) -> Json:
        """The MD5 hash that the file of the parameter hash_file had when the server started."""
        if not self._hash:
            raise MiError(404, "Functionality disabled")
        return self._hash

    @command("check_config_hash", (), idempotent=True, cost="quick", aliases=("cfgutils:check_config_hash",))
    def check_config_hash(self, params: Params) -> Json:
        """Whether the file of the parameter hash_file is still the one that the server started with."""
        if not self._hash:
            raise MiError(404, "Functionality disabled")
        try:
            found = _hash_of(self.settings["hash_file"])
        except OSError as error:
            raise MiError(500, "Internal error", f"{error.filename}: {error.strerror}") from error
        if found != self._hash:
            raise MiError(400, "The actual config file hash is not identical to the stored one.")
        return "The actual config file hash is identical to the stored one."


def _hash_of(path: str) -> str:
    return md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def _initial(text: str) -> tuple[str, Value]:
    found = _INITIAL.fullmatch(text)
    if found is None:
        raise SettingsError(f'"{text}" is not a first value: "name=i:5" or "name=s:text" is', text)
    integer = found["integer"]
    return found["name"].strip(), found["text"] if integer is None else int(integer)


def _random_percent() -> float:
    """0 up to but not including 100, from the kernel: a seeded generator would be the same in every fork."""
    return int.from_bytes(os.urandom(6)) / 2**48 * 100


def _told(name: str, value: Value) -> Json:
    kind = "integer" if isinstance(value, int) else "string"
    told = value if isinstance(value, int) else script_text(str(value))
    return {"name": script_text(name), "type": kind, "value": told}


def _pause(seconds: float) -> int:
    if not 0 <= seconds <= MAX_SLEEP_S:
        return -1
    time.sleep(seconds)
    return 1
