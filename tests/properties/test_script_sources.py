"""Files put into one another: every line keeps its place, and nothing that a file holds stops the reading."""

from pathlib import Path

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.script.parse import MAX_SYNTAX_ERRORS, parse
from runtime.script.sources import MAX_FILES, gather

TEXTS = st.lists(
    st.sampled_from(["exit;", "# it's", '"two\nlines"', "$var(x) = 1;", "", "'", '"', "/* a", "*/", "\t", "\\"]),
    max_size=6,
).map("\n".join)
PIECES = st.sampled_from(
    [
        *(
            "route {",
            "}",
            "route[x] { exit; }",
            "exit }",
            "(",
            '"',
            "'",
            "/*",
            "*/",
            "#",
            "\n",
            "\n",
            " ",
            "log_level=3",
        ),
        *('include_file "a"', 'import_file "b"', 'include_file "main"', "__OSSPP_LINE__ 7\n", "__OSSPP_FILEEND__\n"),
        *('__OSSPP_FILEBEGIN__ "other"\n', "\\\n", "\0", "\xff", "loadmodule", "modparam(", "{", "[", ";", "="),
    ]
)


def reader(files):
    def read(path):
        if str(path) not in files:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return files[str(path)].encode("latin-1")

    return read


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_each_line_is_where_it_came_from(blocks, data):
    # Lines that no string and no comment goes over, some of them in files of their own, which may include others.
    files, main = {}, []
    for number, in_a_file in enumerate(blocks):
        lines = [f'word_{number}_{at} # it\'s "so"' for at in range(data.draw(st.integers(0, 3)))]
        if in_a_file:
            files[f"f{number}"] = "\n".join(lines)
            main.append(f'include_file "f{number}" behind_{number}')
        else:
            main += lines
    files["main"] = "\n".join(main)
    source = gather(Path("main"), reader(files))
    event(f"{len(files)} files")
    text = source.text.split("\n")
    assert (source.problems, len(source.lines)) == ([], len(text))
    for line, (file, number) in zip(text, source.lines, strict=True):
        original = files[file].split("\n")[number - 1]
        assert original.endswith(line.strip()) or original.startswith(line)
        if line.strip().startswith("behind_"):
            assert original.index("behind_") == line.index("behind_")
    assert sum(line.startswith("word_") for line in text) == sum(
        line.startswith("word_") for one in files.values() for line in one.split("\n")
    )


@given(st.lists(PIECES, max_size=30).map("".join), st.lists(PIECES, max_size=10).map("".join), TEXTS)
def test_whatever_the_files_hold_they_are_read_and_told_about(main, a, b):
    files = {"main": main, "a": a, "b": b}
    source = gather(Path("main"), reader(files))
    assert len(source.lines) == source.text.count("\n") + 1
    assert len(source.problems) <= 2 * MAX_FILES
    found = parse(source.text, "main", source.lines)
    event("parsed" if isinstance(found, tuple) else f"{len(found)} problems")
    if isinstance(found, list):
        assert len(found) <= max(MAX_SYNTAX_ERRORS, len(source.text))
        assert all(problem.place.line >= 1 and problem.place.column >= 1 for problem in found)
