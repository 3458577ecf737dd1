# One page of commands; see README.md. `make test` and `make demo` install what they need and say so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

.PHONY: build deps test rust-test headers

build:
	cargo build --locked --release

# Installs the Debian packages that the build and the tests need, where they are missing.
deps:
	@cmake/deps.sh

test: deps rust-test

rust-test:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked

# include/dmapi.h, abi/layouts.txt and man/man3 from src/ffi; the tests fail while they are not fresh.
headers:
	DMAPI_WRITE_HEADERS=1 cargo test --locked --test header
	UPDATE_MAN=1 cargo test --locked --test man_pages
