# One page of commands; see README.md. `make test` and `make demo` install what they need and say so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

.PHONY: build deps test rust-test c-test c-sanitize python-test headers install demo demo-contrast storm bench

build: deps
	cmake -S . -B build/release -DDMAPI_PROFILE=release -DCMAKE_BUILD_TYPE=Release >/dev/null
	cmake --build build/release

# Installs the Debian packages that the build and the tests need, where they are missing.
deps:
	@cmake/deps.sh

test: deps rust-test c-test python-test

rust-test:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked

# C programs against the library of the dev profile: examples, the HSM, c-tests.
c-test:
	cmake -S . -B build/debug -DCMAKE_BUILD_TYPE=Debug >/dev/null
	cmake --build build/debug
	ctest --test-dir build/debug --output-on-failure --parallel 2

# The same C tests built with address and undefined-behaviour sanitizers.
c-sanitize:
	cmake -S . -B build/sanitize -DCMAKE_BUILD_TYPE=Debug -DDMAPI_SANITIZE=address,undefined >/dev/null
	cmake --build build/sanitize
	ctest --test-dir build/sanitize --output-on-failure --parallel 2

# The Python package against the library, the header and a real daemon; pytest comes into target/python.
python-test: export DMAPI_LIBRARY = $(CURDIR)/target/debug/libdmapi.so
python-test: export DMAPI_DAEMON = $(CURDIR)/target/debug/dmapid
python-test: export PYTHONDONTWRITEBYTECODE = 1
python-test:
	cargo build --locked
	python=$$(cmake/python-env.sh) && cd python && timeout -k 10 1200 "$$python" -m pytest -q

# make install [PREFIX=/usr/local] [DESTDIR=]; cmake/install.sh tells the other variables. Needs `make build` before.
install: export PREFIX ?= /usr/local
install: export DESTDIR ?=
install:
	cmake/install.sh

# What libdmapi does, on real files in a loop-mounted file system (root), or through FUSE (DEMO_SOURCE=fuse, and where
# fanotify is not to be had); then what a stock fanotify handler does.
demo: build
	demo/demo.sh

demo-contrast: deps
	demo/contrast.sh

# Readers over stubs while everything is killed: make storm STORM_FS=ext4 STORM_SECONDS=3600 [STORM_SOURCE=fuse|shared]
STORM_FS ?= xfs
STORM_SECONDS ?= 1800
storm: build
	bench/storm.sh $(STORM_FS) $(STORM_SECONDS)

# Against the kernel's own limit; wants a quiet machine.
bench: build
	bench/bench.sh

# include/dmapi.h, abi/layouts.txt and man/man3 from src/ffi; the tests fail while they are not fresh.
headers:
	DMAPI_WRITE_HEADERS=1 cargo test --locked --test header
	UPDATE_MAN=1 cargo test --locked --test man_pages
	UPDATE_CONFORMANCE=1 cargo test --locked --test conformance
