# Two commands matter: `make demo` and `make test`. Both install what is missing (Debian, as root or with sudo).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
SECONDS ?= 60
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# What the build and the demo need, and the outside peers of tests and benchmarks.
BUILD_PACKAGES := build-essential pkg-config cmake espeak-ng
# What compiles C as rustc compiles Rust, by the profile of what is shipped: not every Debian has it.
PROFILE_PACKAGES := clang-22
PEER_PACKAGES := sip-tester baresip-core kamailio kamailio-extra-modules kamailio-utils-modules

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: packages ## start the engine with the sample scripts and place a call (STAY=1: stay up)
	@demo/run.sh $(if $(STAY),--stay)

# Where packages come from is npm's configuration; what they are is in the lock file. None of them runs anything when it is installed.
NPM_LOCK := scripts/node_modules/.package-lock.json

$(NPM_LOCK): scripts/package.json scripts/package-lock.json | deps
	@npm ci --prefix scripts --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

packages: deps $(NPM_LOCK) ## install and bundle the npm packages that scripts may load
	cargo build --locked --package lockstep-engine
	@target/debug/lockstep bundle scripts >/dev/null

test: deps packages peers clients ## everything that must hold: format, lints, unit tests, scenarios with outside peers
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --workspace --locked
	cargo test --workspace --locked --exclude lockstep-tests
	cargo test --locked --package lockstep-tests -- --test-threads 1 # they listen for gaps: one at a time
	target/debug/lockstep check scripts/*.js
	target/debug/lockstep test scripts/tests --config demo

bench: clang peers ## print every figure of what is shipped beside its comparison
	dist/build.sh --package lockstep-engine --package lockstep-tests --bins
	target/dist/lockstep-bench $(FIGURES)

dist: clang ## what is shipped, target/dist/lockstep
	dist/build.sh --package lockstep-engine --bin lockstep

profile: deps peers ## take the profile anew that what is shipped is laid out by
	@$(call install,$(PROFILE_PACKAGES) llvm-22,:)
	dist/profile.sh

mutants: build ## break the sample scripts on purpose; tell which changes their tests do not notice
	target/release/lockstep test scripts/tests --config demo --mutate

fuzz: deps ## fuzz each parser for SECONDS (needs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	@cd fuzz && for target in $$(cargo fuzz list | grep -vx esl) esl; do \
	  mkdir -p "corpus/$$target"; \
	  [ $$target = esl ] && features='--features esl' || features=; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$features "$$target" "corpus/$$target" "seeds/$$target" -- -max_total_time=$(SECONDS) -rss_limit_mb=2048; \
	done

deny: deps ## look at licences, advisories and sources of what is depended on (needs cargo-deny and the network)
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny --locked check

build: deps $(NPM_LOCK) ## the release binary, target/release/lockstep, and the npm packages for scripts
	cargo build --release --locked --package lockstep-engine
	@target/release/lockstep bundle scripts >/dev/null

# Installs those of the packages `$(1)` that are not there, and what `$(2)` adds to them.
install = missing=(); for package in $(1); do \
	  [ "$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null || true)" = installed ] || missing+=("$$package"); \
	done; \
	$(2); \
	if [ $${\#missing[@]} -gt 0 ]; then \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"; \
	fi

deps: ## install what the build needs
	@command -v cargo >/dev/null || { echo 'Rust is missing: install 1.95 or later from https://rustup.rs' >&2; exit 1; }
	@$(call install,$(BUILD_PACKAGES),command -v npm >/dev/null || missing+=(npm))

clang: deps ## install the compiler that C is shipped with; without it the build says so and takes another
	@($(call install,$(PROFILE_PACKAGES),:)) || true

peers: deps ## install the SIP programs that tests and benchmarks talk to
	@$(call install,$(PEER_PACKAGES),:); \
	case " $${missing[*]} " in *" kamailio "*) $(SUDO) systemctl disable --quiet --now kamailio 2>/dev/null || true;; esac

# Other people's event-socket clients and the TypeScript compiler, from their registries; what is there already is left alone.
CLIENTS := tests/clients
clients: deps ## install the event-socket clients and the compiler that the tests run
	@$(call install,,python3 -c 'import ensurepip; import venv' 2>/dev/null || missing+=(python3-venv))
	@cd $(CLIENTS)/node && { cmp -s package-lock.json node_modules/.lock || { npm ci --silent && cp package-lock.json node_modules/.lock; }; }
	@cd $(CLIENTS)/python && { cmp -s requirements.txt .venv/.requirements || { python3 -m venv .venv && \
	  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt && cp requirements.txt .venv/.requirements; }; }

.PHONY: help demo test bench dist profile mutants clang fuzz deny build deps packages peers clients
