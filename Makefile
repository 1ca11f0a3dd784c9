# `make run` and `make test` do all set-up themselves; nothing is installed outside .venv. The peers in Python that
# `make bench-pools` and `make hot-path` compare with, some ninety packages, have a .venv-bench of their own.

PYTHON ?= python3
PARKINGS ?= 1000000
BIN := .venv/bin
RUN_STAMP := .venv/.ready-run
DEV_STAMP := .venv/.ready-dev
NATIVE_STAMP := build/native/.ready
COMPILED := setup.py $(shell find runtime -name '*.pyx' -o -name '*.pxd')
BENCH_BIN := .venv-bench/bin
BENCH_STAMP := .venv-bench/.ready

.PHONY: run test check format reference mutants model simulate fuzz fuzz-script native test-native bench bench-pools hot-path lock clean help

run: $(RUN_STAMP) ## start the real runtime, drive SIP traffic through it in four ways, show table and chart
	$(BIN)/layby demo

# Those that start servers mostly wait, so several files go side by side; of those that put a load on a server, or count
# on what a machine can do, two. What measures, or counts what the whole process has, goes alone.
ALONE := $(addprefix tests/acceptance/test_,bench.py demo.py mi_under_load_benchmark.py must_survive_routing.py must_survive_sip.py pools_benchmark.py \
	script_benchmark.py hot_path_benchmark.py sipp_calls.py) \
	$(addprefix tests/runtime/test_,garbage.py traffic.py) tests/workers/test_spinning.py
PAIRED := $(filter-out $(ALONE),$(addprefix tests/acceptance/test_,embedding_docs.py testing_docs.py real_clients.py \
	sip_phones.py sipp.py soak_benchmark.py) $(wildcard tests/workers/test_*.py) \
	$(addprefix tests/runtime/test_,settings_and_folder.py handover.py) \
	$(filter-out tests/processes/test_server_%,$(wildcard tests/processes/test_*.py)) \
	$(addprefix tests/processes/test_server_,reading.py flavours.py call_faults.py faults.py elastic.py))

# What is compiled was tested by all of these; here is the Python that does the same without it.
IN_PYTHON := $(addprefix tests/runtime/sip/test_sip_,message.py torture.py keys.py judge.py build.py ownership.py)

test: $(DEV_STAMP) ## all tests
	$(BIN)/pytest -n 2 --dist loadfile $(PAIRED)
	$(BIN)/pytest -n 3 --dist loadfile $(addprefix --ignore=,$(ALONE) $(PAIRED))
	$(BIN)/pytest $(ALONE)
	LAYBY_PURE=1 $(BIN)/pytest -q $(IN_PYTHON)

check: $(DEV_STAMP) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV_STAMP) ## put imports and layout in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(RUN_STAMP) ## write docs/reference/ anew, of the declarations in the sources
	$(BIN)/layby reference

mutants: $(DEV_STAMP) ## change the cores in every small way and see that a property notices (ARGS="workers.wire*")
	$(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

# In a tree of its own: compiled files beside the sources would go on being used after the sources have changed.
native: $(NATIVE_STAMP) ## the SIP path compiled, in build/native (needs a C compiler); run it from there

# Named by PYTHONPATH since pytest loads the plugin that is installed before it reads of any path.
test-native: $(NATIVE_STAMP) ## the tests of what is compiled, over the compiled
	cd build/native && PYTHONPATH=. ../../$(BIN)/pytest -n 2 --dist loadfile tests/runtime/sip tests/runtime/transports tests/fuzz \
		tests/properties/test_sip_properties.py tests/properties/test_response_context_machine.py \
		tests/properties/test_transaction_machine.py tests/properties/test_transaction_pair_machine.py \
		tests/processes/test_server_relay.py tests/processes/test_server_relay_corners.py \
		tests/processes/test_server_parks_everywhere.py tests/processes/test_server_record_route.py \
		tests/simulation/test_verify_cli.py $(ARGS)

model: ## visit every state of the models of the protocol (ARGS="'two jobs, early ends'"); needs spin
	$(PYTHON) model/check.py $(ARGS)

simulate: $(RUN_STAMP) ## a million parkings in the simulated machine, with all faults (PARKINGS=50000 ARGS="--seed 7")
	$(BIN)/python benchmarks/simulation.py --parkings $(PARKINGS) $(ARGS)

fuzz: $(DEV_STAMP) ## damage SIP messages and see that each is read, answered and passed on (ARGS="--seconds 600")
	$(BIN)/python tests/fuzz/fuzz_parse.py $(ARGS)

fuzz-script: $(DEV_STAMP) ## damage scripts and see that each is a script or a list of problems (ARGS="--seconds 600")
	$(BIN)/python tests/fuzz/fuzz_script.py $(ARGS)

bench: $(RUN_STAMP) ## three minutes: ratios between the ways of calling a command, beside the committed ones (ARGS=--write)
	$(BIN)/python benchmarks/ratios.py $(ARGS)

bench-pools: $(BENCH_STAMP) ## the pool engine beside its peers (ARGS="--quick", ARGS="--runs 3 --json out/pools.json")
	$(BENCH_BIN)/python benchmarks/pools.py $(ARGS)

hot-path: $(RUN_STAMP) ## layby's hot path beside its SIP peers, those that are installed (ARGS="--quick --rows options")
	$(BIN)/python benchmarks/hot_path.py $(ARGS)

lock: $(DEV_STAMP) ## work out the locked versions anew (needs uv on PATH)
	uv pip compile --upgrade -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --extra chart pyproject.toml requirements/build.in -o requirements/run.txt
	uv pip compile --upgrade -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --extra chart --extra dev -c requirements/run.txt pyproject.toml requirements/build.in \
		-o requirements/dev.txt
# Not held to the versions in run.txt: executorlib wants a pyzmq that is older than layby's.
	uv pip compile --upgrade -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --extra bench pyproject.toml requirements/build.in -o requirements/bench.txt

clean: ## remove what set-up and runs made
	rm -rf .venv .venv-bench mutants out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find runtime -name '*.so' -delete

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "layby needs Python 3.11 or newer; name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The locked packages first, by hash; then layby itself, which fetches nothing.
$(RUN_STAMP): requirements/run.txt pyproject.toml $(COMPILED) | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(RUN_STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(NATIVE_STAMP): $(DEV_STAMP) $(COMPILED) $(shell find runtime mi_script workers tests -name '*.py')
	rm -rf build/native && mkdir -p build/native
	cp -R runtime mi_script workers tests requirements docs examples benchmarks setup.py pyproject.toml README.md LICENSE build/native/
	cd build/native && LAYBY_NATIVE=1 ../../$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

.venv-bench/bin/python: | .venv/bin/python
	$(PYTHON) -m venv .venv-bench

$(BENCH_STAMP): requirements/bench.txt pyproject.toml | .venv-bench/bin/python
	$(BENCH_BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	$(BENCH_BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
