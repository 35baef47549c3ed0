# `make test` is everything that must hold before a change goes in; it never writes to the sources. `make fix` does.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

CARGO ?= cargo
IMAGE ?= jobbie
# What `make run` and `make bench` pass on: `make run ARGS='server --durability relaxed'`, `make bench ARGS=enqueue`.
ARGS ?=

# Runs one stage: says its name, and how long it took if it went well.
define stage
@printf '\n==> %s\n' '$@'; begin=$$SECONDS; $(1); printf '==> %s took %d s\n' '$@' "$$((SECONDS - begin))"
endef

.PHONY: help test fetch fmt clippy suites rustdoc readme wordcount schemathesis deny fix run bench docker clean

help: ## Show this
	@sed -En 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

test: fetch fmt clippy suites rustdoc readme wordcount schemathesis ## Run every check
	@printf '\nall checks passed\n'

fetch:
	$(call stage,$(CARGO) fetch --locked)

fmt:
	$(call stage,$(CARGO) fmt --all --check)

clippy:
	$(call stage,$(CARGO) clippy --workspace --all-targets --locked -- -D warnings)

# Unit, property, integration and documentation tests, the order of the repository (tests/tidy.rs), and the licences and
# sources of what is linked (also there).
suites:
	$(call stage,$(CARGO) test --workspace --locked)

rustdoc:
	$(call stage,RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked)

# The binary as `suites` builds it: another set of packages would have other features, and be built once more.
BINARY = $(CARGO) test --workspace --locked --no-run --quiet

# The commands of README.md and of every page below docs/ and examples/.
readme:
	$(call stage,$(BINARY); tests/readme.sh)

wordcount:
	$(call stage,$(BINARY); examples/wordcount/run.sh)

# Generated calls against the OpenAPI document. Skipped, and says so, where the tool is not installed.
schemathesis:
	$(call stage,$(BINARY); tests/schemathesis/run.sh)

deny: ## Check licences, bans and sources with cargo-deny, if it is installed
	$(CARGO) deny --locked check licenses bans sources

fix: ## Format, and apply what clippy can
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

run: ## Run a server (release build)
	$(CARGO) run --release --locked -- $(if $(ARGS),$(ARGS),server)

bench: ## Measure a server that is started for it (release build)
	$(CARGO) run --release --locked -- bench --spawn $(ARGS)

docker: ## Build the image
	docker build -t $(IMAGE) .

clean: ## Remove what was built
	$(CARGO) clean
