"""What a script writes to `mi()` becomes the call that the documentation says, and an answer what its table says.

The call is put together here from parts whose meaning is known, so what is expected is known before the text exists.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from hypothesis import event, given
from hypothesis import strategies as st

from mi_script.calls import Call, Cause, Fault
from mi_script.execute import Answered, pack_answer
from mi_script.script import ScriptFault, ending, ending_of, gathered, script_call, split_commands
from workers.jobs import Cancelled, Failed, Peer, Rejected, Returned, TimedOut, WorkerLost

COMPATS = st.sampled_from(["", "3.6"])
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
WORD = st.text(st.sampled_from("ab=,'_€ä\x0b\xa0\t"), min_size=1, max_size=4).filter(
    lambda word: word.strip("\t") == word
)
"""Only a blank is one to a script: the other white space belongs to its word."""


def spelled(text):
    """Real text as a script spells it: its UTF-8 bytes as latin-1."""
    return text.encode("utf-8").decode("latin-1")


def shown(text):
    """What a script is told: text of a handler may hold half of a surrogate pair, which is none."""
    return spelled("".join("?" if "\ud800" <= char <= "\udfff" else char for char in text))


def exactly(call):
    """A call with all its types and orders: 5 is not "5", and neither are two orders of the same pairs equal."""
    return repr(call)


# The first parameter


class Command(NamedTuple):
    """A first parameter: as it is written, and what it means to us and to OpenSIPS 3.6."""

    text: str
    call: tuple[str, list[str]]
    call_36: tuple[str, list[str]]


@st.composite
def commands(draw):
    words = draw(st.lists(WORD, max_size=4))
    before, after = draw(st.sampled_from(["", " ", "  ", "\t", "\r\n"])), draw(st.sampled_from(["", " ", "   "]))
    ragged = draw(st.sampled_from(["", "\t", "\r\n"])) if words else ""
    gaps = [draw(st.sampled_from([" ", "  ", "    "])) for _ in words[1:]]
    text = words[0] + ragged + "".join(gap + word for gap, word in zip(gaps, words[1:], strict=True)) if words else ""
    method, arguments = (words[0], words[1:]) if words else ("", [])
    cut = before.startswith(" ")  # 3.6 splits first, and finds no method before a blank
    old = ("", [words[0] + ragged, *arguments] if words else []) if cut else (method, arguments)
    return Command(spelled(before + text + after), (method, arguments), old)


@given(commands(), COMPATS)
def test_the_first_parameter_is_a_command_and_the_words_behind_it(command, compat):
    method, words = command.call_36 if compat else command.call
    event(f"{min(len(words), 2)} words{' behind no method' if not method else ''}")
    assert exactly(script_call(command.text, None, None, compat)) == exactly(Call(method, words or None))


# Names and values


class Written(NamedTuple):
    """A value of an AVP: as a script holds it; what it is to us; what 3.6 makes of it alone, by a name, by a number."""

    held: str | int | None
    means: object
    alone_36: str
    named_36: object
    numbered_36: object


def written(text):
    """Text that is no array."""
    number = text.isascii() and text.isdigit() and len(text) <= 19
    return Written(spelled(text), text, text, text, int(text) if number else text)


def array(items):
    """``__array(a b)``: its words are apart by one space each, so what stands between two of them is one too."""
    text = f"__array({' '.join(items)})"
    return Written(spelled(text), items or [""], text, items or [""], text)


INTEGERS = st.integers(-(2**31), 2**31 - 1)
ALMOST_ARRAYS = st.sampled_from(["__array(a b", "array(a b)", "x__array(a)", "__array", "_array(a)", ")", "__ARRAY(a)"])
ITEMS = st.text(st.sampled_from("ab)(€\t"), max_size=3)
VALUES = st.one_of(
    INTEGERS.map(lambda number: Written(number, number, str(number), str(number), number)),
    st.just(Written(None, None, "", "", None)),
    (TEXT.filter(lambda text: not text.startswith("__array(")) | ALMOST_ARRAYS).map(written),
    st.text("0123456789", min_size=1, max_size=24).map(written)
    | st.sampled_from(["²", "-5", "9" * 19, "9" * 20]).map(written),
    st.lists(ITEMS, max_size=4).map(array),
    st.just(Written("\xff!", "\ufffd!", "\ufffd!", "\ufffd!", "\ufffd!")),
)
NAMES = st.sampled_from(["a", "b", "ä", "5"]) | st.integers(4, 6) | TEXT


def name_held(name):
    return spelled(name) if isinstance(name, str) else name


@given(commands(), st.lists(VALUES, max_size=4), st.booleans(), COMPATS)
def test_values_alone_are_positional_whichever_of_the_two_holds_them(command, values, as_names, compat):
    held = [value.held for value in values]
    call = script_call(command.text, held if as_names else None, None if as_names else held, compat)
    if compat:
        expected = Call(command.call_36[0], [value.alone_36 for value in reversed(values)] or None)
    else:
        expected = Call(command.call[0], [value.means for value in values] or None)
    assert exactly(call) == exactly(expected)


@given(commands(), st.lists(st.tuples(NAMES, VALUES), max_size=4), st.lists(VALUES, max_size=2))
def test_each_name_gets_its_value_and_the_first_of_a_name_counts(command, pairs, surplus):
    names, values = [name_held(name) for name, _ in pairs], [value.held for value in [*(v for _, v in pairs), *surplus]]
    call = script_call(command.text, names, values)
    params: dict[str, object] = {}
    for name, value in reversed(pairs):
        params = {str(name): value.means, **{key: one for key, one in params.items() if key != str(name)}}
    method, ignored = command.call[0], f"{len(surplus)} of {len(values)} values have no name and are ignored"
    event(f"{len(pairs) - len(params)} names stand there again")
    assert exactly(call) == exactly(Call(method, params or None, f"{method}: {ignored}" if surplus else None))


@given(commands(), st.lists(st.tuples(NAMES, VALUES), max_size=4), st.lists(VALUES, max_size=2))
def test_36_walks_from_the_newest_and_takes_the_type_from_the_name(command, pairs, surplus):
    # Those that are left over are the oldest, since it meets them last.
    names, values = [name_held(name) for name, _ in pairs], [value.held for value in [*surplus, *(v for _, v in pairs)]]
    call = script_call(command.text, names, values, "3.6")
    params: dict[str, object] = {}
    for name, value in pairs:
        one = value.named_36 if isinstance(name, str) else value.numbered_36
        params = {str(name): one, **{key: other for key, other in params.items() if key != str(name)}}
    method = command.call_36[0]
    warning = f"{method}: too many attribute vals - ignoring..." if surplus else None
    assert exactly(call) == exactly(Call(method, params or None, warning))


@given(INTEGERS, st.integers(1, 24) | st.integers(18, 21), st.data())
def test_36_takes_up_to_nineteen_digits_under_an_integer_for_a_number(name, length, data):
    digits = data.draw(st.text("0123456789", min_size=length, max_size=length))
    call = script_call("command", [name], [digits], "3.6")
    assert exactly(call) == exactly(Call("command", {str(name): int(digits) if length <= 19 else digits}))


@given(
    commands(),
    st.lists(NAMES | st.none(), min_size=1, max_size=4),
    st.lists(VALUES, max_size=4),
    COMPATS,
)
def test_a_name_without_a_value_or_none_at_all_is_told(command, names, values, compat):
    held, lacking = [name if name is None else name_held(name) for name in names], len(names) - len(values)
    call = script_call(command.text, held, [value.held for value in values], compat)
    if lacking <= 0 and None not in names:
        event("nothing lacks")
        assert isinstance(call, Call)
        return
    if lacking > 0:
        name = names[-lacking]
        which = "NULL" if name is None else f"'{name}'"
        said = f"parameter {which} has no value: {len(names)} names, {len(values)} values"
    else:
        said = f"the name of parameter {names.index(None) + 1} is NULL"
    assert call == ScriptFault(-2, "could not parse script params!" if compat else spelled(said))


# What an answer is to the script

ANY_TEXT = st.text(max_size=8) | st.sampled_from(["", "half \ud800", "ä€"])
CODES = st.integers(-33000, 33000) | st.sampled_from([0, 1, -1, 404, -32602])
FAULTS = st.builds(Fault, CODES, ANY_TEXT, st.none() | ANY_TEXT, st.sampled_from(Cause))
PEERS = st.builds(Peer, st.sampled_from(["worker-1", "sip-2"]), st.integers(1, 9))
MICROSECONDS = st.integers(0, 2000) | st.integers(0, 100_000_000)
RESULTS = TEXT.map(json.dumps) | TEXT.map(lambda text: json.dumps(text, ensure_ascii=False)) | st.just("null")
REASONS = st.just("") | st.text(min_size=1, max_size=8)


def story(fault, worker, elapsed):
    """What `$mi(…)` tells."""
    told = (
        (fault.code, shown(fault.message), None if fault.data is None else shown(fault.data)) if fault else (None,) * 3
    )
    return dict(zip(("code", "message", "data", "worker", "elapsed"), (*told, worker, elapsed), strict=True))


def told_of(fault, compat):
    """`$rc` and the variable's new value: the table of what each outcome is to a script."""
    whole = fault.message if fault.data is None else f"{fault.message}: {fault.data}"
    rc, text = {
        Cause.COMMAND: (-abs(fault.code) if fault.code else -3, fault.message),
        Cause.UNKNOWN: (-1, fault.message),
        Cause.DENIED: (-403, whole),
        Cause.NO_ANSWER: (-3, whole),
    }[fault.cause]
    return rc, None if compat and fault.cause is Cause.UNKNOWN else shown(text)


@given(RESULTS | FAULTS, st.none() | MICROSECONDS, st.none() | PEERS.map(str), COMPATS)
def test_an_answer_is_to_the_script_what_the_table_says(result, elapsed, worker, compat):
    answer = Answered(result) if isinstance(result, str) else result
    end = ending_of(answer, None if elapsed is None else elapsed / 1_000_000, worker, compat)
    if isinstance(result, str):
        assert (end.rc, end.value, end.story) == (1, spelled(result), story(None, worker, elapsed))
    else:
        event(str(result.cause))
        assert (end.rc, end.value) == told_of(result, compat)
        assert end.story == story(result, worker, elapsed)


@given(RESULTS | FAULTS, PEERS, MICROSECONDS, COMPATS)
def test_what_came_back_from_a_worker_is_what_it_would_have_been_here(result, peer, elapsed, compat):
    answer = Answered(result) if isinstance(result, str) else result
    job = ending(Returned(pack_answer(answer), peer, elapsed / 1_000_000), compat)
    assert job == ending_of(answer, elapsed / 1_000_000, str(peer), compat)
    assert (job.story["worker"], job.story["elapsed"]) == (str(peer), elapsed)


@given(PEERS, MICROSECONDS, REASONS, TEXT.filter(bool), COMPATS)
def test_a_job_that_failed_says_where_and_how(peer, elapsed, message, kind, compat):
    end = ending(Failed(kind, message, peer, elapsed / 1_000_000), compat)
    assert end.rc == -3
    assert end.value == shown(f"The worker failed with {kind}{': ' if message else ''}{message}")
    fault = Fault(-32000, f"The worker failed with {kind}", message or None)
    assert end.story == story(fault, str(peer), elapsed)


@given(
    st.one_of(
        st.integers(1, 600).map(lambda seconds: (TimedOut(float(seconds)), 408, [f"within {seconds} s"], None)),
        REASONS.map(lambda reason: (Cancelled(reason), 487, ["Cancelled", reason], None)),
        REASONS.map(lambda reason: (Rejected(reason), 503, ["Not accepted", reason], None)),
        PEERS.map(lambda peer: (WorkerLost(peer), 500, [str(peer), "may have run in part"], str(peer))),
    ),
    COMPATS,
)
def test_a_job_that_nobody_answered_says_why(expected, compat):
    outcome, code, said, worker = expected
    end = ending(outcome, compat)
    assert end.rc == -code
    assert all(shown(part) in end.value for part in said)
    assert (end.story["code"], end.story["message"], end.story["data"]) == (code, end.value, None)
    assert (end.story["worker"], end.story["elapsed"]) == (worker, None)


# Several together

PARTS = st.text(st.sampled_from("ab \x0b€"), max_size=5).map(lambda text: text.strip(" "))


@given(st.lists(st.tuples(PARTS, st.sampled_from(["", " ", "\t", " \r\n"]), st.sampled_from(["", " ", "\n\t"]))))
def test_commands_are_apart_by_semicolons_and_none_of_them_is_empty(parts):
    text = ";".join(before + part + after for part, before, after in parts)
    assert split_commands(text) == [part for part, _, _ in parts if part]


@given(st.lists(RESULTS | FAULTS, max_size=4))
def test_what_is_gathered_has_a_member_for_each_and_the_code_of_the_first_that_failed(results):
    end = gathered([Answered(result) if isinstance(result, str) else result for result in results])
    faults = [result for result in results if isinstance(result, Fault)]
    read = json.loads(end.value.encode("latin-1"))
    assert read == json.loads(json.dumps([member(result) for result in results]))
    assert end.value.count(" ") == sum(part.count(" ") for part in map(member_text, results))
    assert end.rc == (told_of(faults[0], "")[0] if faults else 1)
    assert end.story == story(faults[0] if faults else None, None, None)


def member(result):
    if isinstance(result, str):
        return {"result": json.loads(result)}
    error = {"code": result.code, "message": result.message, "data": result.data}
    return {"error": {key: value for key, value in error.items() if key != "data" or value is not None}}


def member_text(result):
    return result if isinstance(result, str) else f"{result.message}{result.data or ''}"
