# All that a person or CI runs; `make help` lists it.
#
# Python things live in .venv, where stamp files remember what is done: nothing is done twice.
# There is one wheel, a release build, for the demo, the tests and the docs: what is tested is what
# would be shipped.

# Another interpreter: make PYTHON=python3.13 ...
FIND_PYTHON := for python in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo $$python && break; done
PYTHON ?= $(shell $(FIND_PYTHON))
PORT ?= 8080
REPEAT ?= 1
STREAMS ?= 100000
SEED ?= 1
MINUTES ?= 30
# The shell has a variable of that name, which counts.
FUZZ_SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),60)

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/done
AUTOBAHN := .cache/autobahn

# Folders too: removing a file changes nothing else.
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md LICENSE \
    $(shell find rust python -name __pycache__ -prune -o ! -name '*.so' -print)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
ifndef SIDE_BY_SIDE
.NOTPARALLEL:       # cargo is parallel by itself, and pytest's summary comes last
endif
MAKEFLAGS += --no-builtin-rules

export PATH := $(PATH):$(HOME)/.cargo/bin
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

.PHONY: help demo test check loom counts autobahn autobahn-sample differential differential-http fuzz
.PHONY: soak bench bench-full bench-compression bench-http docs clean
help:  ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

demo: $(DONE)/wheel  ## Build, install into .venv, and serve the chat (PORT=8080)
	@exec $(BIN)/python examples/chat/server.py --port $(PORT)

test: $(DONE)/wheel $(DONE)/test-tools chromium tls-clients wrk  ## Run all tests: Rust, Python, browser
	cargo test --locked --quiet
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

check: lint-rust side-by-side autobahn-sample loom test  ## Run everything that CI runs

# Neither takes more than one processor, nor looks at a clock.
side-by-side: $(DONE)/wheel $(DONE)/dev-tools $(DONE)/docs-tools valgrind
	$(MAKE) --jobs 2 --output-sync=target SIDE_BY_SIDE=yes counts lint-python docs

# What is compiled for it is of no use for anything else.
LOOM := CARGO_TARGET_DIR=target/loom RUSTFLAGS='--cfg loom -D warnings' cargo

loom:  ## Try the orders in which threads may come, in models of the core, a minute
	$(LOOM) test --locked --quiet --profile loom --package handy-ws-core --lib models::

counts: $(DONE)/venv valgrind  ## Count the instructions of fixed works, a minute; they may not grow
	$(BIN)/python -m benchmarks.counts

CONFORMANCE := $(BIN)/python tests/conformance/run.py --wstest $(AUTOBAHN)/wstest --jobs 2

autobahn: wstest  ## Run the whole conformance suite (REPEAT=1), half an hour; reports/autobahn
	$(CONFORMANCE) --report reports/autobahn --repeat $(REPEAT)
	$(CONFORMANCE) --report reports/autobahn-wss --scheme wss --sample --repeat $(REPEAT)

autobahn-sample: wstest  ## Run it without the long cases, two minutes; reports/autobahn-sample
	$(CONFORMANCE) --report reports/autobahn-sample --sample --timeout 600
	$(CONFORMANCE) --report reports/autobahn-sample-wss --scheme wss --timeout 600 \
	    --compression none --groups 1 2 3 4 5 6 7 10

differential: $(DONE)/wheel $(DONE)/test-tools  ## Compare STREAMS=100000 random streams with others
	$(BIN)/python -m tests.differential.run --jobs 2 --streams $(STREAMS) --seed $(SEED)

differential-http: $(DONE)/wheel $(DONE)/test-tools  ## Compare STREAMS=100000 of requests with h11
	$(BIN)/python -m tests.http.differential.run --jobs 2 --streams $(STREAMS) --seed $(SEED)

fuzz: $(DONE)/wheel $(DONE)/test-tools  ## Fuzz each Rust target, and then Python, for SECONDS=60
	fuzz/run $(FUZZ_SECONDS)
	end=$$(($$(date +%s) + $(FUZZ_SECONDS))); while (($$(date +%s) < end)); do \
	    $(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=fuzz --timeout=0; done

soak: $(DONE)/wheel $(DONE)/test-tools  ## Run 2,000 clients and all faults, MINUTES=30; reports/soak
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

# The number, the minutes, what is measured, and the program. All but the last line, the JSON, which
# is in a file too, is shown.
define measure
@echo "== $(1) of 7, about $(2) min: $(3)"
$(BIN)/python -m benchmarks.$(4) --report reports/bench | sed '$$d'
endef

bench: $(DONE)/bench-tools  ## Measure all that has a goal beside others, half an hour; reports/bench
	rm -rf reports/bench
	@echo "Seven programs, half an hour; the machine should have nothing else to do."
	$(call measure,1,10,messages beside a floor and other servers,compare)
	$(call measure,2,4,how costs grow up to 10000 connections beside a floor,growth)
	$(call measure,3,4,latency at half load beside a floor,latency)
	$(call measure,4,3,handshakes beside a floor and other servers,handshakes \
	    --loops uvloop --count 10000 --peer-rounds 3)
	$(call measure,5,3,idle connections and their memory beside other servers,idle)
	$(call measure,6,1,PONGs and broadcasts while a callback blocks,blocked)
	$(call measure,7,2,broadcasts while 1 % of the clients stall,slow --rounds 7)
	$(BIN)/python -m benchmarks.goals reports/bench

bench-full: bench  ## Measure that, and a grid that shows how costs grow, 2 hours; reports/bench-full
	$(BIN)/python -m benchmarks.compare --grid --rounds 3 --seconds 0.5 --report reports/bench-full

bench-compression: $(DONE)/bench-tools  ## Measure compression, also beside other servers, 10 minutes
	for program in memory broadcast bomb levels echo; do $(BIN)/python -m benchmarks.$$program; done

bench-http: $(DONE)/bench-tools wrk  ## Measure HTTP, handshakes, TLS and slow clients, half an hour
	for program in requests handshakes wss slow_clients "slow_clients --tls"; do \
	    $(BIN)/python -m benchmarks.$$program; done

docs: $(DONE)/docs-tools  ## Build the documentation in docs/_build/html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -E docs docs/_build/html
	@echo "The documentation: docs/_build/html/index.html"

clean:  ## Remove everything that was made here
	rm -rf $(VENV) .cache dist docs/_build reports target
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: lint-rust lint-python side-by-side wstest chromium tls-clients valgrind wrk
lint-rust: $(DONE)/venv
	cargo fmt --all --check
	cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
	$(LOOM) clippy --locked --quiet --profile test --package handy-ws-core --lib
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --quiet --no-deps --package handy-ws-core

lint-python: $(DONE)/wheel $(DONE)/dev-tools $(DONE)/docs-tools
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest handy_ws._core

wstest: $(DONE)/wheel $(DONE)/test-tools
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/conformance/install $(AUTOBAHN)

# The tests look for these names too.
chromium:
	@for name in $${CHROMIUM:-chromium} chromium-browser google-chrome google-chrome-stable; do \
	    ! command -v "$$name" >/dev/null || exit 0; done; \
	.ci/apt-install "The browser tests need Chromium" chromium fonts-liberation

tls-clients:
	@for name in curl openssl; do command -v $$name >/dev/null || \
	    .ci/apt-install "The tests of TLS need $$name" $$name; done

valgrind:
	@command -v valgrind >/dev/null || \
	    .ci/apt-install "Instructions are counted by valgrind" valgrind

wrk:
	@command -v wrk >/dev/null || .ci/apt-install "The benchmarks of HTTP need wrk" wrk

$(DONE)/venv:
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "handy_ws needs Python 3.11 or newer: make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make environments: sudo apt-get install python3-venv" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' 'maturin>=1.16,<2'
	@mkdir -p $(DONE) && touch $@

$(DONE)/wheel: $(DONE)/venv $(SOURCES)
	rm -rf dist
	$(BIN)/maturin build --quiet --release --interpreter $(BIN)/python --out dist
	$(BIN)/python -m pip uninstall -qq --yes handy-ws
	$(BIN)/python -m pip install --quiet dist/*.whl
	@touch $@

$(DONE)/test-tools: $(DONE)/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(DONE)/bench-tools: $(DONE)/wheel benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@touch $@

$(DONE)/dev-tools: $(DONE)/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(DONE)/docs-tools: $(DONE)/wheel pyproject.toml
	for wheel in dist/*.whl; do $(BIN)/python -m pip install --quiet "$$wheel[docs]"; done
	@touch $@
