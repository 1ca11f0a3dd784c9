"""A small server's worth of commands: real ones, over state of their own."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from mi_script.builtin import register_builtin
from mi_script.commands import Json, MiError, Params, Registry, command, commands_of
from mi_script.execute import Executor
from mi_script.service import Service


class Demo:
    """Commands with every kind of recipe and every kind of end."""

    def __init__(self) -> None:
        self.cache: dict[str, str] = {}
        self.statistics = {"core:rcv_requests": 7, "shmem:total_size": 1024}
        self.ran: list[str] = []

    @command("uptime", idempotent=True)
    def uptime(self, params: Params) -> Json:
        """Says since when the server runs."""
        self.ran.append("uptime")
        return {"Now": "Sun Nov 22 21:10:30 2026", "Up time": "3 [sec]"}

    @command("echo", ("text",))
    def echo(self, params: Params) -> Json:
        """Gives back what it got."""
        self.ran.append("echo")
        return params.raw("text")

    @command("cache_store", ("system", "attr", "value"), ("system", "attr", "value", "expire"))
    def cache_store(self, params: Params) -> Json:
        """Stores a value.

        A second paragraph that is no help.
        """
        params.integer("expire", 0)
        self.cache[params.text("attr")] = params.text("value")
        return "OK"

    @command("cache_fetch", ("system", "attr"))
    def cache_fetch(self, params: Params) -> Json:
        value = self.cache.get(params.text("attr"))
        if value is None:
            raise MiError(400, "Value not found")
        return {"key": params.text("attr"), "value": value}

    @command("dlg_list", (), ("callid",), ("callid", "from_tag"), ("index", "counter"), named_only=True)
    def dlg_list(self, params: Params) -> Json:
        """Lists dialogs."""
        if "index" in params:
            first, count = params.integer("index"), params.integer("counter")
            return {"count": 20, "Dialogs": [{"ID": str(n)} for n in range(first, min(20, first + count))]}
        return {"Dialogs": []}

    @command(
        "dr_reload",
        (),
        ("inherit_state",),
        ("partition_name",),
        ("partition_name", "inherit_state"),
        positional=("partition_name",),
        aliases=("drouting:reload",),
        cost="slow",
    )
    def dr_reload(self, params: Params) -> Json:
        if params.text("partition_name", "extensions") != "extensions":
            raise MiError(404, "Partition not found", "there is only extensions")
        return "OK"

    @command("ds_list", (), ("partition",), ("full",))
    def ds_list(self, params: Params) -> Json:
        return []

    @command("get_statistics", ("statistics",))
    def get_statistics(self, params: Params) -> Json:
        wanted = params.texts("statistics")
        return {key: value for key, value in self.statistics.items() if key in wanted or key.split(":")[1] in wanted}

    @command("t_uac_dlg", ("method", "ruri"), named_only=True)
    async def t_uac_dlg(self, params: Params) -> Json:
        """Answers later."""
        await asyncio.sleep(0)
        if params.text("ruri") == "sip:nobody":
            raise MiError(480, "Temporarily Unavailable")
        return {"Status": "200 OK"}

    @command("big", ("size",))
    def big(self, params: Params) -> Json:
        return "x" * params.integer("size")

    @command("broken")
    def broken(self, params: Params) -> Json:
        raise ZeroDivisionError("on purpose")

    @command("broken_later")
    async def broken_later(self, params: Params) -> Json:
        await asyncio.sleep(0)
        raise ZeroDivisionError("on purpose")

    @command("no_json")
    def no_json(self, params: Params) -> Json:
        return {"socket": object()}  # type: ignore[dict-item]

    @command("no_end")
    def no_end(self, params: Params) -> Json:
        result: list[Json] = []
        result.append(result)
        return result


@pytest.fixture
def demo() -> Demo:
    return Demo()


@pytest.fixture
def registry(demo: Demo) -> Registry:
    registry = Registry(commands_of(demo, "demo"))
    register_builtin(registry)
    return registry


@pytest.fixture
def executor(registry: Registry) -> Executor:
    return Executor(registry)


@pytest.fixture
def service(executor: Executor) -> Service:
    async def perform(call, transport):
        return await executor.answer(call)

    return Service(perform)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def play(request):
    """Runs a coroutine to its end, on either of the loops that a server may have."""
    return request.param
