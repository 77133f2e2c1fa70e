# MyTSDB: two commands do everything on a fresh machine: `make run` and `make test`.

CARGO ?= cargo

.PHONY: test lint clean

test: lint
	$(CARGO) test --workspace

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

clean:
	$(CARGO) clean
