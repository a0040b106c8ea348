# All commands of this repository. `make` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# One command at a time: cargo uses every core by itself, and measurements want them to themselves.
.NOTPARALLEL:

TARGET := $(or $(CARGO_TARGET_DIR),target)
# What `make bench` runs, one after another: `make bench BENCH=switch` runs one of them.
BENCH ?= switch inflight rolling null rollback recover proxy idle

# What `make bench-judge` is told: JUDGE="--json --replicas 200", JUDGE="--only cost".
JUDGE ?=

# How many worlds `make simulate` runs, from which seed on; `make replay SEED=7` shows one of them.
SEEDS ?= 10000
FROM ?= 0
SEED ?= 0
# The mutants of `make test`: of the fence, the store, the pace, a take-over and the gates.
FEW := FenceDropped IntentNotWritten ParallelIgnored OldLookIsGrip HookSkipped
# How long `make fuzz` runs each target, and which: `make fuzz SECONDS=10 FUZZ="spec_yaml request"`.
SECONDS ?= 60
FUZZ ?=

.PHONY: help demo demo-gitops test test-long check crash-matrix kills power-cuts failing-writes \
    conformance fuzz prove fmt bench bench-judge bench-gitops bench-python simulate replay mutants wheel clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, then deploy five versions of a shop under load; about a minute after the build
	@scripts/need cargo cc
	cargo build --locked --release --package rollway --package shop
	$(TARGET)/release/rollway demo --shop $(TARGET)/release/shop

demo-gitops: ## follow a repository: a good commit, a bad one that is held, and a fix
	@scripts/need cargo cc git curl
	cargo build --locked --package rollway --package shop
	@examples/gitops/run $(TARGET)/debug/rollway $(TARGET)/debug/shop

test: check ## check, then run every test, half a minute of simulation and a few mutants
	cargo test --locked --workspace --no-fail-fast
	scripts/python test
	scripts/mutants 60 $(FEW)

test-long: ## every test, the long ones too: 200 kills of git and of the control plane
	@scripts/need cargo cc git curl
	RUN_SLOW_TESTS=1 cargo test --locked --workspace --no-fail-fast

check: ## formatting, lints, house rules and licences
	@scripts/need cargo cc
	@if scripts/need --component rustfmt; then \
	    echo 'cargo fmt --all --check'; cargo fmt --all --check; fi
	@if scripts/need --component clippy; then \
	    echo 'cargo clippy --workspace --all-targets -- -D warnings'; \
	    cargo clippy --locked --workspace --all-targets -- -D warnings; fi
	cargo test --locked --workspace --test tidy
	@if command -v cargo-deny >/dev/null; then \
	    echo 'cargo deny check'; cargo deny check; \
	    else echo 'cargo-deny is not installed: licences and sources were not checked'; fi

crash-matrix: ## die at every named place, under every strategy and operation; about half an hour
	@scripts/need cargo cc
	RUN_SLOW_TESTS=1 cargo test --locked --package rollway --test matrix -- --nocapture --test-threads 1

kills: ## kill -9 the control plane 300 times at random moments; prints how soon it is back
	@scripts/need cargo cc
	RUN_SLOW_TESTS=1 cargo test --locked --package rollway --test it crash:: -- --nocapture --test-threads 1

power-cuts: ## cut the power of a disk 100 times amid commits (root)
	@scripts/need cargo cc python3 mkfs.ext4
	RUN_SLOW_TESTS=1 cargo test --locked --package rollway --test store power:: -- --nocapture --test-threads 1

failing-writes: ## let every write and sync of a disk fail, one after another (root)
	@scripts/need cargo cc python3 mkfs.ext4 strace
	RUN_SLOW_TESTS=1 cargo test --locked --package rollway --test store kth:: -- --nocapture --test-threads 1

conformance: ## hold the core against the cases of others in ROLLWAY_CASES; numbers per file
	@scripts/need cargo cc
	cargo test --locked --package rollway-core --test conformance --test peers_conformance

fuzz: ## run each fuzz target SECONDS long; what fails is kept in fuzz/failures
	@scripts/need cargo cc
	cargo build --locked --profile fuzz --package rollway-fuzz
	$(TARGET)/fuzz/rollway-fuzz --seconds $(SECONDS) --home fuzz $(FUZZ)

prove: ## run all that shows the promises are kept; the report card goes into docs/RELIABILITY.md
	@scripts/prove

fmt: ## format all sources
	@scripts/need cargo
	cargo fmt --all

bench: ## measure, beside nginx and HAProxy; BENCH=switch runs one part
	@scripts/need cargo cc taskset $(if $(filter proxy,$(BENCH)),nginx haproxy wrk)
	cargo build --locked --release --package rollway --package shop --package rollway-bench
	@for part in $(BENCH); do \
	    echo "== $$part"; $(TARGET)/release/rollway-bench "$$part"; done

bench-judge: ## the canary judge beside Argo, Flagger, Kayenta over simulated hours; 20 min on two cores
	@scripts/need cargo cc
	cargo build --locked --release --package rollway-bench-judge
	$(TARGET)/release/rollway-bench-judge $(JUDGE)

bench-gitops: ## measure what following 1,000 services costs
	@scripts/need cargo cc git
	cargo build --locked --release --package rollway
	@scripts/bench-gitops $(TARGET)/release/rollway

bench-python: ## measure the Python packages from the wheel: import, a target, the lock
	@scripts/need cargo cc python3
	scripts/python bench

simulate: ## the engine in SEEDS simulated worlds with faults; fails if an invariant does
	@scripts/need cargo cc
	cargo build --locked --release --package rollway-sim
	$(TARGET)/release/rollway-sim run --seeds $(SEEDS) --from $(FROM)

replay: ## what happens in the simulated world of SEED
	@scripts/need cargo cc
	@cargo build --locked --release --package rollway-sim
	@$(TARGET)/release/rollway-sim replay $(SEED)

mutants: ## every planted wrong change must be found by the simulator or the tests of the core
	@scripts/need cargo cc
	scripts/mutants

wheel: ## build the Python wheel into dist/
	@scripts/need cargo cc
	scripts/python wheel

clean: ## remove what was built
	cargo clean
