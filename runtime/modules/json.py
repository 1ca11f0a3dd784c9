"""Module json: `$json(name/key[index])`, documents that a script reads, changes and writes as JSON text."""

from __future__ import annotations

from runtime.context import Context, Value
from runtime.modules.base import RuntimeModule
from runtime.script import documents
from runtime.script.access import Unwritable
from runtime.script.declare import Kind, Param, Ref, function, ignored, variable
from runtime.script.documents import find, parse_path


class Json(RuntimeModule):
    """The module as a script loads it."""

    name = "json"
    parameters = (ignored("enable_long_quoting", int, 0, "integers have 64 bits here."),)

    @variable("json", setter="set_json", lister="all_json", resetter="read_json", mark=documents.mark)
    def json(self, c: Context, inner: str) -> Value:
        """`$json(name)` is a document, `$json(name/key)` an object's value, `$json(name[0])` an array's.

        A string and an integer come as such, anything else as JSON text; NULL where there is nothing. `=` puts a string
        or an integer there, and NULL takes away what is there; `:=` puts there what JSON text says. `$json(name[])`
        appends to an array; the index -1 is the last. A variable may be a key (`$json(name/$var(key))`) or an index,
        and is one whatever it holds. `for ($var(v) in $(json(name)[*]))` walks through the values of an array or an
        object, `$(json(name.keys)[*])` through an object's keys. Documents are the process's, as `$var` is, and both
        are kept while a message is parked.
        """
        return documents.value_of(find(c.documents, parse_path(inner)))

    def set_json(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$json` by `=`."""
        path = parse_path(inner)
        if value is None:
            documents.remove(c.documents, path)
        else:
            documents.put(c.documents, path, value)

    def read_json(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$json` by `:=`."""
        path = parse_path(inner)
        if value is None:
            documents.remove(c.documents, path)
        else:
            documents.put(c.documents, path, documents.read(str(value)))

    def all_json(self, c: Context, inner: str) -> list[Value]:
        """The values that a loop over `$(json(name)[*])` sees."""
        path = parse_path(inner)
        part = "" if path is None else path.part
        return [documents.value_of(value) for value in documents.listed(find(c.documents, path), part)]

    @variable("json_compact", mark=documents.mark)
    def json_compact(self, c: Context, inner: str) -> Value:
        """As `$json`, with no space in what comes as JSON text."""
        return documents.value_of(find(c.documents, parse_path(inner)), documents.compact)

    @variable("json_compact_noescape", mark=documents.mark)
    def json_compact_noescape(self, c: Context, inner: str) -> Value:
        """As `$json_compact`, with slashes as they are."""
        return documents.value_of(find(c.documents, parse_path(inner)), documents.without_escapes)

    @variable("json_pretty", mark=documents.mark)
    def json_pretty(self, c: Context, inner: str) -> Value:
        """As `$json`, with what comes as JSON text in lines that are indented."""
        return documents.value_of(find(c.documents, parse_path(inner)), documents.pretty)

    @function("json_merge", Param("main", Kind.VALUE), Param("patch", Kind.VALUE), Param("output", Kind.OUTPUT))
    def json_merge(self, c: Context, main: Value, patch: Value, output: Ref) -> int:
        """Change one JSON text by another as RFC 7386 says (a key of the patch that is null goes away).

        The result is JSON text without spaces, in `output`. Gives -1 where one of the two is no JSON.
        """
        try:
            one, other = documents.read(str(main)), documents.read(str(patch))
            output.set(c, documents.compact(documents.merged(one, other)))
        except Unwritable:
            return -1
        return 1
