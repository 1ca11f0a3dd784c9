"""What holds for every script and every text."""

from pathlib import Path

from hypothesis import event, example, given
from hypothesis import strategies as st

from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import Kind, Module, Param, asynchronous, function
from runtime.script.formats import NotAVariable, parse_format
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.parse import parse
from runtime.script.problems import Place, ScriptProblem
from runtime.script.tree import Format, Variable
from runtime.script.uris import split_uri

WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.0, process_id=lambda: 1)


class Jobs(Module):
    """One function with both forms."""

    name = "jobs"

    @function("job", Param("text", Kind.STRING), Param("out", Kind.OUTPUT, optional=True))
    def job(self, c, text, out):
        return 1

    @asynchronous("job", Param("text", Kind.STRING), Param("out", Kind.OUTPUT, optional=True))
    def job_later(self, c, text, out):
        raise AssertionError("nothing runs here")


class Deaf:
    """A process that nothing is asked of, and that hears no log."""

    def park(self, *_):
        raise AssertionError("nothing parks here")

    launch = log = park

    def log_level(self):
        return -4


# Scripts that somebody has damaged

SAMPLE = """\
log_level=3
socket=udp:127.0.0.1:5060
loadmodule "jobs.so"
/* a comment */
route {
  if (!job("x $rU $(ru{uri.host})", $var(out)) && $rm =~ "^INV") { xlog("L_INFO", "$var(out) [$$]\\n"); exit; }
  else if ($si == 10.0.0.0/8 or $avp(a) != NULL) { $avp(a) = 1 + 2 * -3; $(avp(a)[1]) := "x" + $rU; }
  switch ($var(x)) { case 1: case "a": break; default: return(1, "v", $var(x)); }
  while ($var(n) < 3) { $var(n) += 1; if ($var(n) == 2) break; }
  for ($var(i) in $(avp(a)[*])) { route(sub, $var(i), "t $ci"); }
  launch(job("l"), sub, "p $var(n)");
  async(job("a", $avp(r)), sub, 5);
}
route[sub] { $ru = "sip:" + $param(1) + "@h"; assert($var(x), "m"); drop; }
timer_route[t, 5] { route("$var(name)"); }
"""
PIECES = [
    '"',
    "'",
    "$",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ";",
    ",",
    "#",
    "/*",
    "*/",
    "\\",
    "\x00",
    "\xff",
    "$(",
    "{s.",
    "!",
]


@st.composite
def damaged(draw):
    text = SAMPLE
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        other = draw(st.integers(0, len(SAMPLE)))
        piece = draw(
            st.one_of(
                st.just(""),
                st.sampled_from(PIECES),
                st.just(SAMPLE[other : other + 20]),
                st.text(st.characters(max_codepoint=255), max_size=6),
            )
        )
        text = text[:start] + piece + text[end:]
    return text


def loaded(text, catalog=None):
    return load(Path("f.cfg"), catalog=catalog or {}, read=lambda _: text.encode("latin-1"))


@given(damaged())
@example(SAMPLE)
def test_a_damaged_script_is_refused_or_compiles(text):
    found = loaded(text, {"jobs": Jobs})
    event("it compiles" if isinstance(found, Checked) else "it is refused")
    if isinstance(found, Checked):
        compile_script(found, {name: Jobs() for name in found.modules}, Deaf(), WORLD)
    else:
        assert found
        assert all(isinstance(problem, ScriptProblem) and problem.message for problem in found)
        assert any(problem.severity == "error" for problem in found)


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_any_text_is_a_script_or_a_problem(text):
    found = parse(text, "f.cfg")
    assert isinstance(found, tuple) or all(isinstance(problem, ScriptProblem) for problem in found)


@given(st.text(st.sampled_from("ab $(){}[].,*\\19"), max_size=40))
def test_a_format_keeps_every_character(text):
    try:
        found = parse_format(text, Place("f", 1, 1))
    except NotAVariable:
        return
    assert isinstance(found, Format)
    spelled_again = "".join(
        part.text if isinstance(part, Variable) else part.replace("$", "$$") for part in found.parts
    )
    assert spelled_again == text


@given(st.text(st.sampled_from("sip:ab@;?=[]1.<> "), max_size=30))
def test_a_uri_taken_apart_and_put_together_keeps_its_parts(text):
    parts = split_uri(text)
    if parts is not None and parts.host:
        assert split_uri(str(parts)) == parts
