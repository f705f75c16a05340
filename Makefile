# archy: `make demo` to see it, `make test` to trust it. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TARGET := $(or $(CARGO_TARGET_DIR),target)
export ARCHY_APPS_OUT := $(abspath $(TARGET))/apps
WEB_SOURCES := $(shell find web -type f -not -path 'web/node_modules/*' -not -path 'web/dist/*' 2>/dev/null)
PREFIX ?= /usr/local

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Installs what the host lacks (Debian and Ubuntu)
	@scripts/host-deps.sh

# Not npm ci: a lock file made on a machine whose registry lacks the packages of other platforms has none of them,
# and ci takes that for a lock out of step. install keeps to the locked versions all the same.
web/node_modules/.package-lock.json: web/package-lock.json
	npm --prefix web install --no-save --no-audit --no-fund
	@touch $@

web/dist/index.html: web/node_modules/.package-lock.json $(WEB_SOURCES)
	npm --prefix web run build
	@touch $@

tests/browser/node_modules/.package-lock.json: tests/browser/package-lock.json
	npm --prefix tests/browser ci --no-audit --no-fund
	@touch $@

.PHONY: web
web: web/dist/index.html ## Builds the store UI

.PHONY: build
build: web ## Builds archy and archyd (with the UI inside)
	cargo build --bin archy --bin archyd

.PHONY: apps
apps: deps ## Makes the images of the apps (cached)
	@apps/build

.PHONY: check
check: ## Format, lints, audit of the dependency graph, unit and crate tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo nextest run --workspace --exclude archy-tests

.PHONY: audit
audit: ## Bans, licences and sources; advisories where their database can be reached
	@scripts/audit.sh

.PHONY: test
test: deps ## Everything, real nodes and a real browser included
	@scripts/test.sh

# ITERATIONS, NODES, JOBS, APPS and PROVE (apps whose checks must see what is broken; 1: all) come from the command line or
# the environment; DOCS=1 writes the page of the book.
.PHONY: gate
gate: deps apps build ## Every app through every state of its life (ITERATIONS=5 NODES=2 JOBS=2 APPS= PROVE=)
	cargo run --quiet -p archy-tests --bin gate -- $(if $(DOCS),--docs)

# CUTS, SEED and PARTS come from the command line or the environment. Hours, where nothing accelerates the emulation.
.PHONY: vm
vm: ## Limits, power cuts and the clock on a virtual machine (as root; CUTS=10 SEED= PARTS=)
	@scripts/host-deps.sh vm
	cargo build --release -p archy-orchestrator --example drive
	@tests/vm/vm $(PARTS)

.PHONY: demo
demo: deps apps build ## Three nodes, three apps, one store to open in a browser
	cargo run --quiet -p archy-tests --bin demo

.PHONY: demo-stop
demo-stop: ## Removes the demo's nodes
	@ARCHY_BED=demo tests/node/node rm --all

.PHONY: bench
bench: deps apps web ## README's figures, measured; written to target/bench
	cargo build --release --bin archy --bin archyd
	cargo run --quiet -p archy-tests --bin bench
	cargo bench --quiet -p archy-registry --bench registry

.PHONY: bench-swarm
bench-swarm: ## The swarm's figures: simulated, and on shaped links between network namespaces (as root)
	@scripts/host-deps.sh bench
	cargo bench --quiet -p archy-swarm --bench simulation
	cargo bench --quiet -p archy-swarm --bench swarm

.PHONY: bench-orchestrator
bench-orchestrator: deps web ## What running forty apps costs the daemon, on a test node (as root; PROVE=1: the counter counts)
	cargo build --release --bin archy --bin archyd
	cargo bench --quiet -p archy-orchestrator --bench orchestrator

.PHONY: install
install: web ## Puts archy, archyd and its user unit in place on this machine
	cargo build --release --bin archy --bin archyd
	@scripts/install.sh $(TARGET)/release $(PREFIX)

.PHONY: clean-nodes
clean-nodes: ## Removes every test node, of all beds
	@tests/node/node rm --all-beds
