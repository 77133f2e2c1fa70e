# MyTSDB: two commands do everything on a fresh machine, `make run` and `make test`.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: run test lint unit e2e crash torture head flips fuzz fuzz-smoke bench bench-quick clean

# Builds, starts the server with its data in ./data, seeds it once, stays in the foreground.
run:
	scripts/run.sh

# The whole law: format, lints, every crate's tests, documentation, end to end, and a little fuzzing.
test: deps lint unit deploy-test e2e fuzz-smoke

.PHONY: deps
deps:
	scripts/install-test-deps.sh test

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# One build for the tests and for the binaries that the end-to-end tests start.
unit:
	$(CARGO) build --workspace --bins --tests
	$(CARGO) test --workspace

e2e: deps
	$(CARGO) build --workspace --bins --tests
	.venv/bin/python tests/e2e/run.py

# Overlays, charts and their examples: rendered, checked against Kubernetes' schemas and our policies (docs/kubernetes.md).
.PHONY: deploy-test
deploy-test: deps
	.venv/bin/yamllint --strict --config-file tests/deploy/yamllint.yaml deploy grafana
	.venv/bin/python tests/e2e/run.py --folder tests/deploy

# The image, built and tried without a container daemon (root, buildah and debootstrap; a quarter of an hour).
.PHONY: image-check
image-check:
	scripts/check-image.sh

# MyTSDB in a kind cluster on this machine: see deploy/install.sh for what each does.
.PHONY: install status seed-logs port-forward verify uninstall
install status seed-logs port-forward verify uninstall:
	deploy/install.sh $@

# The kill -9 test alone, with many cycles.
crash:
	MYTSDB_CRASH_CYCLES=$${MYTSDB_CRASH_CYCLES:-200} $(CARGO) test --test it crash -- --nocapture

# A million random operations against a map; MYTSDB_TORTURE_SEED repeats a run.
torture:
	MYTSDB_TORTURE_OPERATIONS=$${MYTSDB_TORTURE_OPERATIONS:-1000000} \
		$(CARGO) test --release -p mytsdb-storage --test it torture -- --nocapture

# Flips every single bit of a file of each kind (`make test` flips every 50th).
flips:
	MYTSDB_FLIPS=all $(CARGO) test --release -p mytsdb-storage --lib flips -- --nocapture --test-threads=1

# Every fuzz target for a few seconds, where cargo-fuzz is installed; `make fuzz` takes its time.
fuzz-smoke:
	scripts/fuzz.sh $${FUZZ_SMOKE_SECONDS:-6}

# Every fuzz target, ten minutes each.
fuzz:
	scripts/fuzz.sh $${FUZZ_SECONDS:-600}

# Memory of a hot series, of a million series that are all replaced ten times, and the time of a replay (minutes).
.PHONY: head
head:
	$(CARGO) bench -p mytsdb-storage --bench head -- hot
	$(CARGO) bench -p mytsdb-storage --bench head -- churn
	$(CARGO) bench -p mytsdb-storage --bench head -- replay

# Compares with Prometheus and VictoriaMetrics on 20 M samples each and writes docs/benchmarks.md (about 20 minutes).
bench:
	scripts/install-test-deps.sh bench
	$(CARGO) build --release --workspace --bins
	python3 bench/compare.py --flight --otlp --write-docs $(BENCH_FLAGS)

bench-quick:
	scripts/install-test-deps.sh bench
	$(CARGO) build --release --workspace --bins
	python3 bench/compare.py --scale 0.05 --repeats 3 $(BENCH_FLAGS)

clean:
	$(CARGO) clean
