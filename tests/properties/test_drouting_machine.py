"""Generations under loads that end, fail, are killed and overtake each other, against dicts."""

from __future__ import annotations

import contextlib
import mmap
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.drouting.generations import Build, Generations
from runtime.drouting.rules import Carrier, Gateway, Rule, Sort, State
from runtime.drouting.states import States
from runtime.store import Store

PARTITIONS = st.sampled_from(["a", "ab"])
IDS = st.sampled_from(["1", "2", "#1"])
"""Of two gateways and a carrier."""
STATES = st.sampled_from(State)
CONTENTS = st.tuples(
    st.dictionaries(st.sampled_from(["", "4", "49", "1"]), st.lists(st.integers(-2, 2), min_size=1, max_size=3)),
    st.dictionaries(IDS, STATES),
)
"""The priorities of the rules of prefixes, and the states of gateways and carriers."""


@dataclass
class Load:
    """A load under way."""

    context: contextlib.AbstractContextManager[Build]
    build: Build
    rules: dict[str, list[Rule]]
    states: dict[str, State]


@dataclass
class Model:
    """What should hold in a partition."""

    number: int = 0
    rules: dict[str, list[Rule]] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)


def thing(id: str, state: State) -> Gateway | Carrier:
    if id.startswith("#"):
        return Carrier(id[1:], (), Sort.NONE, False, state, "", "")
    return Gateway(id, 0, "h", 0, "", "", 0, state, "", "")


class GenerationMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="layby"))
        self.store = Store(self.folder / "store")
        self.states = States(self.store)
        self.flips = mmap.mmap(-1, 8)
        self.generations = self.one_more()
        self.loads: list[Load] = []
        self.models = {"a": Model(), "ab": Model()}
        self.serial = 0

    def one_more(self) -> Generations:
        return Generations(self.folder / "generations", self.store, self.states, self.flips)

    def teardown(self) -> None:
        for load in self.loads:
            load.context.__exit__(None, None, None)
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(content=CONTENTS)
    def begin(self, content: tuple[dict[str, list[int]], dict[str, State]]) -> None:
        context = self.generations.building()
        build = context.__enter__()
        priorities, states = content
        things = [thing(id, state) for id, state in states.items()]
        build.builder.put_facts(
            [one for one in things if isinstance(one, Gateway)], [one for one in things if isinstance(one, Carrier)]
        )
        rules: dict[str, list[Rule]] = {}
        for prefix, numbers in priorities.items():
            for priority in numbers:
                self.serial += 1
                one = Rule(self.serial, priority, "", "", (), Sort.NONE, 0, "")
                build.builder.add_rule([0], prefix, one)
                rules.setdefault(prefix, []).append(one)
        self.loads.append(Load(context, build, rules, states))

    @precondition(lambda self: self.loads)
    @rule(data=st.data(), partition=PARTITIONS, inherit=st.booleans())
    def take(self, data: st.DataObject, partition: str, inherit: bool) -> None:
        load, model = self.drawn(data), self.models[partition]
        load.build.builder.finish()
        taken = self.generations.take(partition, load.build, 7.0, inherit_state=inherit)
        load.context.__exit__(None, None, None)
        assert taken == (load.build.number > model.number)
        event(f"taken: {taken}, inherited: {inherit}")
        if taken:
            kept = {id: model.states[id] for id in load.states if inherit and id in model.states}
            self.models[partition] = Model(load.build.number, load.rules, load.states | kept)

    @precondition(lambda self: self.loads)
    @rule(data=st.data(), finished=st.booleans())
    def fail(self, data: st.DataObject, finished: bool) -> None:
        load = self.drawn(data)
        if finished:
            load.build.builder.finish()
        load.context.__exit__(None, None, None)

    @precondition(lambda self: self.loads)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        load = self.drawn(data)
        left = shutil.copytree(load.build.path, self.folder / "left")
        load.context.__exit__(None, None, None)
        left.rename(load.build.path)
        self.generations.sweep()

    @rule(partition=PARTITIONS, id=IDS, state=STATES, only_from=st.none() | STATES)
    def set_state(self, partition: str, id: str, state: State, only_from: State | None) -> None:
        model, view = self.models[partition], self.generations.view(partition)
        if view is not None and id in model.states:
            one = view.carriers[id[1:]] if id.startswith("#") else view.gateways[id]
            assert self.states.put(partition, one, view.epoch, state, only_from) is model.states[id]
            if only_from in (None, model.states[id]):
                model.states[id] = state
            # Who has not heard of the last load, and looks at what was before, changes nothing.
            self.states.put(partition, one, -1, State.PROBING)

    @rule()
    def forget_what_is_open(self) -> None:
        if not self.loads:  # a process cannot have one open twice
            self.generations = self.one_more()

    @invariant()
    def what_is_found_is_what_was_taken(self) -> None:
        for partition, model in self.models.items():
            view = self.generations.view(partition)
            assert (0 if view is None else view.number) == model.number
            if view is None:
                continue
            for number in ("", "4", "495", "12", "3"):
                fitting = sorted((prefix for prefix in model.rules if number.startswith(prefix)), key=len, reverse=True)
                expected = [
                    (prefix, one.id)
                    for prefix in fitting
                    for one in sorted(model.rules[prefix], key=lambda one: (-one.priority, one.id))
                ]
                assert [(match.prefix, match.rule.id) for match in view.find(0, number, 0.0)] == expected
            things = {**view.gateways, **{f"#{id}": one for id, one in view.carriers.items()}}
            assert {id: self.states.get(partition, one, view.epoch) for id, one in things.items()} == model.states

    @invariant()
    def nothing_is_left_over(self) -> None:
        there = {int(path.name) for path in (self.folder / "generations").iterdir()}
        used = {model.number for model in self.models.values()} - {0}
        assert there == used | {load.build.number for load in self.loads}

    def drawn(self, data: st.DataObject) -> Load:
        return self.loads.pop(data.draw(st.integers(0, len(self.loads) - 1)))


TestGenerations = GenerationMachine.TestCase
TestGenerations.settings = settings(max_examples=40, stateful_step_count=20)
