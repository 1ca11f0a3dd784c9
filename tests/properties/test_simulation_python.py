"""What scripts in Python test is found as in the cfg language: the same goals with the same facts."""

from pathlib import Path

import pytest

from runtime.program import Program
from runtime.pyscript.load import PyChecked
from runtime.script import tree
from runtime.script.parse import parse
from runtime.simulation.python_routes import readable_routes
from runtime.simulation.wishes import wishes_of

HEAD = """from runtime.pyscript import Call, module, route
import re
module("proto_udp")
module("sl")
module("tm")
module("sipmsgops")
module("rr")
module("mi_script")
KNOWN = "alice"
@route.request
"""


def facts_in_python(text: str, folder: Path) -> list[tuple[object, ...]]:
    file = folder / "script.py"
    file.write_text(HEAD + text)
    checked = Program.load(file).checked
    assert isinstance(checked, PyChecked)
    return sorted((goal.facts for goal in wishes_of(readable_routes(checked)).goals), key=repr)


def facts_in_cfg(text: str) -> list[tuple[object, ...]]:
    routes = [item for item in parse(text, "a.cfg") if isinstance(item, tree.Route)]
    return sorted((goal.facts for goal in wishes_of(routes).goals), key=repr)


@pytest.mark.parametrize(
    ("python", "cfg"),
    [
        (
            'def main(call: Call) -> None:\n  if call.is_method("INVITE"):\n    call.sl_send_reply(200, "OK")\n',
            'route {\nif (is_method("INVITE"))\nsl_send_reply(200, "OK");\n}',
        ),
        (
            "def main(call: Call) -> None:\n  if not call.has_totag() and call.ruri_user == KNOWN:\n    return\n"
            "  call.t_relay()\n",
            'route {\nif (!has_totag() && $rU == "alice")\nexit;\nt_relay();\n}',
        ),
        (
            'def main(call: Call) -> None:\n  user = call["$rU"]\n'
            "  if user is None:\n    call.exit()\n  call.t_relay()\n",
            "route {\nif ($rU == NULL)\nexit;\nt_relay();\n}",
        ),
        (
            'def main(call: Call) -> None:\n  if re.match("[0-9]+", call.ruri_user or ""):\n    call.t_relay()\n',
            'route {\nif ($rU =~ "^(?:[0-9]+)")\nt_relay();\n}',
        ),
        (
            'def main(call: Call) -> None:\n  if call.header("X-Kind") in ("a", "b"):\n    call.t_relay()\n',
            'route {\nif ($hdr(X-Kind) == "a" || $hdr(X-Kind) == "b")\nt_relay();\n}',
        ),
        (
            "def main(call: Call) -> None:\n  deliver(call)\n"
            'def deliver(call: Call) -> None:\n  call.t_on_failure("next")\n  call.t_relay()\n'
            '@route.failure("next")\ndef after(call: Call) -> None:\n'
            '  if call.t_check_status("486"):\n    call.t_relay()\n',
            'route {\nroute(deliver);\n}\nroute[deliver] {\nt_on_failure("next");\nt_relay();\n}\n'
            'failure_route[next] {\nif (t_check_status("486"))\nt_relay();\n}',
        ),
        (
            'def main(call: Call) -> None:\n  call.ruri = "sip:x@y"\n  if call.ruri_user == "a":\n    call.t_relay()\n',
            'route {\n$ru = "sip:x@y";\nif ($rU == "a")\nt_relay();\n}',
        ),
        (
            "def main(call: Call) -> None:\n  match call.method:\n"
            '    case "OPTIONS" | "INFO":\n      call.t_relay()\n    case _:\n      call.sl_send_reply(405, "No")\n',
            'route {\nif ($rm == "OPTIONS" || $rm == "INFO")\nt_relay();\nelse\nsl_send_reply(405, "No");\n}',
        ),
    ],
)
def test_the_facts_are_those_of_the_same_script_in_the_cfg_language(python: str, cfg: str, tmp_path: Path) -> None:
    assert facts_in_python(python, tmp_path) == facts_in_cfg(cfg)


def test_what_stands_for_something_else_by_then_says_nothing(tmp_path: Path) -> None:
    text = (
        "def main(call: Call) -> None:\n  user = call.ruri_user\n  user = user.lower() if user else None\n"
        '  if user == "a":\n    call.t_relay()\n'
    )

    assert facts_in_python(text, tmp_path) == [(), ()]
