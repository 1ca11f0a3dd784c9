"""Functions and handlers, arguments and results: the two sides of a call joined by the bytes between them."""

from __future__ import annotations

import functools
import math
import pickle
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from workers import calls, errors
from workers.calls import job, load
from workers.errors import (
    BadHandlers,
    JobCancelled,
    JobFailed,
    JobLost,
    JobRejected,
    JobTimedOut,
    NoSuchJob,
    NotEncodable,
    NotImportable,
    RemoteTraceback,
    error_of,
)
from workers.jobs import Cancelled, Failed, Peer, Rejected, TimedOut, WorkerLost
from workers.packing import Msgpack, Pickle, Raised, codec_named, trace_of
from workers.targets import Targets, path_of, published

WORKER = Peer("worker-1", 1)


# -- arguments and results --------------------------------------------------------------------------------------------

CALLS = [((), {}), ((1,), {}), ((), {"a": 1}), ((1, "x", b"y", None, 2.5, True, [1], {"k": [2]}), {"b": {3: "c"}})]


@pytest.mark.parametrize("codec", [Msgpack(), Msgpack(shared=True), Pickle()], ids=["msgpack", "shared", "pickle"])
@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_a_call_arrives_as_it_was_made(codec, args, kwargs) -> None:
    got_args, got_kwargs = codec.unpack_call(codec.pack_call(args, kwargs))
    assert (list(got_args), dict(got_kwargs)) == (list(args), kwargs)


@pytest.mark.parametrize("value", [None, 1, -(2**63), 2**64 - 1, "é", b"\x00", 1.5, [1, [2]], {"a": {1: 2}}])
def test_a_result_arrives_as_it_was_given(value) -> None:
    codec = Msgpack()
    assert codec.unpack_result(codec.pack_result(value)) == value


def test_what_changes_on_the_way() -> None:
    codec = Msgpack()
    assert codec.unpack_result(codec.pack_result((1, (2,)))) == [1, [2]]
    assert codec.unpack_result(codec.pack_result(bytearray(b"x"))) == b"x"


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ((1, {2}), {}, "argument 2 (set)"),
        ((), {"path": Path("/x")}, "argument 'path' (PosixPath)"),
        ((2**64,), {}, "argument 1 (int)"),
        (("\ud800",), {}, "argument 1 (str)"),
        ((), {"": 1}, "argument needs a name"),
    ],
)
def test_what_cannot_be_sent_is_named_with_the_remedy(args, kwargs, named) -> None:
    codec = Msgpack()
    with pytest.raises(NotEncodable) as raised:
        codec.pack_call(args, kwargs)
    assert named in str(raised.value)
    assert isinstance(raised.value, TypeError)
    assert codec.pack_call((1,), {}) == b"\x91\x01", "a failure leaves nothing behind in the packer"


def test_a_deep_argument_is_refused_and_a_deep_payload_does_no_harm() -> None:
    deep: list = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(NotEncodable):
        Msgpack().pack_call((deep,), {})
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, it is no crash
        Msgpack().unpack_call(b"\x91" * 100_000)


def test_a_tuple_as_a_key_is_told_where_it_is_read() -> None:
    codec = Msgpack()
    with pytest.raises(NotEncodable, match="a key of a dict is a tuple"):
        codec.unpack_result(codec.pack_result({(1, 2): 3}))


def test_a_result_that_cannot_be_sent_says_so() -> None:
    with pytest.raises(NotEncodable, match="the result \\(set\\)"):
        Msgpack().pack_result({1})
    with pytest.raises(NotEncodable, match="the result"):
        Pickle().pack_result(lambda: None)


def test_with_pickle_a_tuple_and_a_dict_are_not_taken_for_arguments_and_keywords() -> None:
    codec = Pickle()
    args = ((1,), {"a": 2})
    assert codec.unpack_call(codec.pack_call(args, {})) == (args, {})


def test_there_is_no_third_codec() -> None:
    with pytest.raises(ValueError, match="no codec 'json'"):
        codec_named("json")


# -- exceptions -------------------------------------------------------------------------------------------------------


def failed(error: Exception) -> Failed:
    """As the engine makes it."""
    try:
        raise error
    except Exception as raised:
        return Failed(type(raised).__name__, str(raised), WORKER, 0.1, trace_of(raised))


@pytest.mark.parametrize(
    "error",
    [
        KeyError("k"),
        KeyError(7),
        ValueError("no"),
        ZeroDivisionError("division by zero"),
        FileNotFoundError(2, "No such file or directory", "/x"),
        OSError(28, "No space left on device"),
        FileExistsError(17, "File exists", "/a", None, "/b"),
        RuntimeError(),
        TimeoutError("theirs"),
    ],
)
def test_a_builtin_exception_is_raised_as_itself(error: Exception) -> None:
    rebuilt = error_of(failed(error))
    assert type(rebuilt) is type(error)
    assert (rebuilt.args, str(rebuilt)) == (error.args, str(error))
    if isinstance(error, OSError):
        assert (rebuilt.errno, rebuilt.filename, rebuilt.filename2) == (error.errno, error.filename, error.filename2)
    assert isinstance(rebuilt.__cause__, RemoteTraceback)
    assert "Traceback (most recent call last)" in str(rebuilt.__cause__)


class ConnectionError(Exception):
    """Not the builtin one, as in a well-known HTTP client."""


@pytest.mark.parametrize(
    "error", [errors.BadHandlers("x"), ConnectionError("x"), StopIteration(3), ExceptionGroup("x", [ValueError()])]
)
def test_any_other_exception_is_a_failed_job(error: Exception) -> None:
    rebuilt = error_of(failed(error))
    assert type(rebuilt) is JobFailed
    assert rebuilt.outcome.kind == type(error).__name__


def test_the_other_ends() -> None:
    lost, late = WorkerLost(WORKER, "killed by SIGKILL"), TimedOut(0.5)
    ends = [error_of(outcome) for outcome in (lost, late, Cancelled("enough"), Rejected("queue is full"))]
    assert [type(end) for end in ends] == [JobLost, JobTimedOut, JobCancelled, JobRejected]
    assert [str(end) for end in ends] == [
        "worker worker-1.1 died (killed by SIGKILL) with the job in its hands; it may have run in part",
        "no answer within 0.5 s",
        "enough",
        "queue is full",
    ]
    assert isinstance(ends[1], TimeoutError)
    assert [type(pickle.loads(pickle.dumps(end))) for end in ends] == [type(end) for end in ends]


class Awkward(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def test_pickle_carries_the_exception_itself_where_it_can() -> None:
    codec = Pickle()
    packed = codec.pack_raised(LookupError("a", {1}))
    assert packed is not None
    raised = codec.unpack_result(packed)
    assert type(raised) is Raised
    error = raised.error()
    assert (type(error), error.args) == (LookupError, ("a", {1}))
    assert codec.pack_raised(Awkward(1, 2)) is None, "what cannot be made again goes as text"
    assert Raised("Gone", "", "", b"not a pickle").error() is None


# -- import paths -----------------------------------------------------------------------------------------------------


class Shelf:
    @staticmethod
    def label() -> str:
        return "shelf"

    def height(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("function", "path"),
    [
        (math.sqrt, "math:sqrt"),
        (len, "builtins:len"),
        (str.upper, "builtins:str.upper"),
        (path_of, "workers.targets:path_of"),
    ],
)
def test_functions_have_paths_that_lead_back(function, path: str) -> None:
    assert path_of(function) == path
    assert calls.resolve(path) is function


def nested():
    def inner() -> None:
        pass

    return inner


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: None, "a lambda has no import path"),
        (nested(), "'inner', defined in a function, has no import path"),
        (functools.partial(len, []), "is an object and no function of a module"),
        (Shelf().height, "leads to something else"),
        (functools.lru_cache(Shelf.label), "leads to something else"),
    ],
)
def test_what_has_no_path_says_what_to_do(function, why: str) -> None:
    with pytest.raises(NotImportable, match=why):
        path_of(function)


@pytest.mark.parametrize("path", ["no_such_module:f", "math:no_such", "math:pi", "math"])
def test_a_path_that_leads_nowhere(path: str) -> None:
    with pytest.raises(NotImportable, match=path):
        calls.resolve(path)


# -- handlers ---------------------------------------------------------------------------------------------------------


@dataclass
class Settings:
    folder: Path
    handlers: tuple[str, ...] = ()
    codec: str = "msgpack"
    main_path: str | None = None


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("made_up")
    monkeypatch.setitem(sys.modules, "made_up", made)

    def write(text: str):
        exec(compile("from workers.calls import job\n" + text, "made_up.py", "exec"), made.__dict__)
        return made

    return write


def test_public_functions_are_handlers(module, tmp_path: Path) -> None:
    module("import os\nfrom math import sqrt\ndef f(): pass\ndef _g(): pass\nclass C: pass\nasync def h(): pass")
    table = load(Settings(tmp_path, ("made_up",)))
    assert sorted(table) == ["f", "h", "made_up:f", "made_up:h"]
    assert calls.any_async(table)
    del table["h"], table["made_up:h"]
    assert not calls.any_async(table)


def test_all_says_what_is_public(module, tmp_path: Path) -> None:
    module("from math import sqrt\n__all__ = ['sqrt', 'C']\ndef f(): pass\nclass C: pass")
    assert sorted(load(Settings(tmp_path, ("made_up",)))) == ["made_up:sqrt", "sqrt"]


def test_any_function_only_where_it_is_allowed(module, tmp_path: Path) -> None:
    module("def f(): pass")
    assert sorted(load(Settings(tmp_path, ("made_up:f",)))) == ["f", "made_up:f"]
    assert sorted(load(Settings(tmp_path, ("*",)))) == [calls.BY_PATH, calls.CHUNK]


@pytest.mark.parametrize(
    ("handlers", "why"),
    [
        (("no_such_module",), "No module named 'no_such_module'"),
        (("made_up:g",), "made_up:g"),
        (("math:pi",), "cannot be called"),
        (("errno",), "no public function"),
        (("made_up", "test_calls_other"), "two handlers are called 'f'"),
    ],
)
def test_handlers_that_cannot_be(module, monkeypatch, tmp_path: Path, handlers, why: str) -> None:
    module("def f(): pass")
    other = types.ModuleType("test_calls_other")
    exec("def f(): pass", other.__dict__)
    monkeypatch.setitem(sys.modules, "test_calls_other", other)
    with pytest.raises(BadHandlers, match=why):
        load(Settings(tmp_path, handlers))


def targets_of(settings: Settings) -> Targets:
    description = published(settings.folder)
    assert description is not None
    return Targets(description, allow_imports="*" in settings.handlers, codec=codec_named(settings.codec))


def test_what_is_declared_is_known_to_origins(module, tmp_path: Path) -> None:
    made = module(
        "@job(idempotent=True, label='slow', timeout_s=2.0)\ndef f(): pass\n@job\ndef g(): pass\ndef h(): pass"
    )
    settings = Settings(tmp_path, ("made_up",))
    assert published(tmp_path) is None
    load(settings)
    targets = targets_of(settings)
    f, g, h = targets.of("f"), targets.of("g"), targets.of("h")
    assert (f.handler, f.label, f.idempotent, f.timeout_s) == ("f", "slow", True, 2.0)
    assert (g.handler, g.label, g.idempotent, g.timeout_s) == ("g", "g", False, None)
    assert (h.handler, h.label, h.prefix) == ("h", "h", b"")
    assert targets.of("made_up:f") == targets.of(made.f) == f, "one function, however it is named"


def test_what_is_not_there(module, tmp_path: Path) -> None:
    module("def f(): pass")
    settings = Settings(tmp_path, ("made_up",))
    load(settings)
    targets = targets_of(settings)
    with pytest.raises(NoSuchJob, match="no handler 'ff'; the pool has f"):
        targets.of("ff")
    with pytest.raises(NotImportable, match="allow_imports=True"):
        targets.of(math.sqrt)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.inf, math.nan])
def test_a_declared_deadline_is_a_number(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="not a time limit"):
        job(timeout_s=timeout_s)


class Running:
    """All that these handlers look at: nothing."""


def test_a_call_and_its_answer(module, tmp_path: Path) -> None:
    module("def add(a, b=1): return a + b\ndef odd(): raise KeyError('k')")
    settings = Settings(tmp_path, ("made_up", "*"))
    table, codec = load(settings), Msgpack()
    for args, kwargs, answer in [((1,), None, 2), ((1, 2), None, 3), ((), {"a": 1, "b": 5}, 6), ((1,), {"b": 3}, 4)]:
        assert codec.unpack_result(table["add"](codec.pack_call(args, kwargs), Running())) == answer
    with pytest.raises(KeyError, match="k"):
        table["odd"](b"", Running())
    with pytest.raises(TypeError, match="missing 1 required"):
        table["add"](b"", Running())
    target = targets_of(settings).of(math.hypot)
    assert target.handler == calls.BY_PATH
    answer = table[target.handler](target.prefix + codec.pack_call((3.0, 4.0), None), Running())
    assert codec.unpack_result(answer) == 5.0


def test_a_coroutine_function_by_path_runs_where_no_loop_does(module, tmp_path: Path) -> None:
    made = module("async def add(a, b): return a + b")
    settings = Settings(tmp_path, ("*",))
    table, codec = load(settings), Msgpack()
    target = targets_of(settings).of(made.add)
    answer = table[target.handler](target.prefix + codec.pack_call((3, 4), None), Running())
    assert codec.unpack_result(answer) == 7


def test_many_rows_in_one_job(tmp_path: Path) -> None:
    settings = Settings(tmp_path, ("*",))
    table, codec = load(settings), Msgpack()
    target = targets_of(settings).chunk_of(math.hypot, 2)
    answer = table[target.handler](target.prefix + codec.pack_call([(3.0, 4.0), (5.0, 12.0)], None), Running())
    assert codec.unpack_result(answer) == [5.0, 13.0]


def test_with_pickle_what_has_no_path_goes_along(tmp_path: Path) -> None:
    settings = Settings(tmp_path, ("*",), codec="pickle")
    table, codec = load(settings), Pickle()
    power = functools.partial(pow, 3)
    target = targets_of(settings).of(power)
    assert target.applied
    answer = table[target.handler](target.prefix + codec.pack_call((power, 2), None), Running())
    assert codec.unpack_result(answer) == 9
    with pytest.raises(NotImportable, match="a lambda"):
        targets_of(settings).of(lambda: None)
