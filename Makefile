# Every target does all of its own set-up on a fresh Debian or Ubuntu with Python 3.11 or newer.
#   make demo    build, start everything on embedded defaults, do the main job, show it
#   make test    the test suite
#   make check   lint and types        make serve   a broker on the embedded defaults
#   make bench   benchmarks            make load    a compressed day of load
#   make bench-large   those whose size can be chosen, at that of a province (30 million people; 30 GB of disk)
#   make sanitize, make fuzz SECONDS=60    the native modules under AddressSanitizer and UndefinedBehaviorSanitizer
#   make oracle  a million decisions of the native policy against their truth table
#   make kernels the string kernels against RapidFuzz, ten million pairs an alphabet
#   make conformance   h2spec and grpc-go's interop client against a front (builds them; needs Go)
#   make tables  the tables of normalisation anew (needs OpenCC and pypinyin in .venv; the file is checked in)
#   make soak    ten minutes of everything while fronts and core are killed (SECONDS=60 make soak: shorter)
#   make chaos-audit  a writer of the audit log killed 1,000 times, then a broker under load; 5,000 power cuts of a traced disk,
#                and as root 50 under ext4; disks that hang for 40 s and are full for 60 s
#   make quota   100,000 calls while the core is killed each second: never one more answer than the quota
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
export BROKER_CYTHON_CACHE := $(CURDIR)/build/cython-cache
BIN := .venv/bin
STAMPS := .venv/stamps
NATIVE := $(wildcard broker/_native/*.bin ext/*.pyx ext/*.pxd ext/broker/_native/*.pxd ext/*.h ext/*.c proto/broker/v1/*.proto) setup.py pyproject.toml

# The native modules once more, built with sanitizers, away from those that are in use; leaks are Python's own.
SANITIZED := build/sanitize
SECONDS ?= 60
KILLS ?= 1000
BROKER_KILLS ?= 1000
POWER_CUTS ?= 5000
EXT4_CUTS ?= 50
UNDER_SANITIZERS = cd $(SANITIZED)/site && LD_PRELOAD="$$(gcc -print-file-name=libasan.so):$$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 PYTHONMALLOC=malloc POLICY_EXAMPLES=10 $(CURDIR)/$(BIN)/python
NATIVE_TESTS := $(patsubst %,tests/test_%.py,cachekey merkle journal journal_faults usage_entries audit_calls policy_image policy_oracle hours counters counters_shared remembered \
	wire wire_match reply canonical_native front_relay front_interop normalise normalise_values normalise_fold normal_columns \
	matching_kernels query_index linkage_compare linkage_pack linkage_index native_search)
FUZZERS := cachekey journal journal_check usage_entries policy wire front normalise matching query_index linkage search trail

.PHONY: demo test check serve bench bench-large load sanitize fuzz oracle kernels tables quota chaos-audit soak conformance setup build lock clean

demo: setup
	$(BIN)/broker demo

test: setup $(STAMPS)/dev
	./deploy/system-packages test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: setup $(STAMPS)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint

serve: setup
	$(BIN)/broker serve

bench: setup
	./deploy/system-packages bench
	$(BIN)/python -m bench

bench-large: setup
	QUERY_INDEX_PEOPLE=30000000 $(BIN)/python -m bench query_index --rounds 3
	SEARCH_PEOPLE=30000000 $(BIN)/python -m bench search --rounds 3
	BROKER_BENCH_PEOPLE=30000000 $(BIN)/python -m bench linkage --rounds 1

load: setup $(STAMPS)/load
	$(BIN)/python -m loadtests

sanitize: $(SANITIZED)/built $(STAMPS)/dev
	$(UNDER_SANITIZERS) -m pytest -q --noconftest --timeout=0 $(NATIVE_TESTS)

fuzz: $(SANITIZED)/built $(STAMPS)/dev
	for one in $(FUZZERS); do ($(UNDER_SANITIZERS) tests/fuzz/fuzz_$$one.py --seconds $(SECONDS)) || exit 1; done

oracle: setup $(STAMPS)/dev
	POLICY_EXAMPLES=5000 $(BIN)/python -m pytest -q -p no:xdist --timeout=0 tests/test_policy_oracle.py

tables: setup
	$(BIN)/python -m tools.normalisation_tables

kernels: setup $(STAMPS)/dev
	MATCHING_PAIRS=10000000 $(BIN)/python -m pytest -q -p no:xdist tests/test_matching_kernels_bulk.py

quota: setup $(STAMPS)/dev
	QUOTA_CALLS=100000 $(BIN)/python -m pytest -q -s -p no:xdist tests/test_quota_kills.py

chaos-audit: setup $(STAMPS)/dev
	AUDIT_KILLS=$(KILLS) AUDIT_POWER_CUTS=$(POWER_CUTS) $(BIN)/python -m pytest -q -s -p no:xdist --timeout=0 tests/test_audit_kills.py tests/test_audit_power.py
	AUDIT_BROKER_KILLS=$(BROKER_KILLS) AUDIT_HUNG_S=40 AUDIT_FULL_S=60 $(BIN)/python -m pytest -q -s -p no:xdist --timeout=0 \
		tests/test_audit_broker_kills.py tests/test_audit_disks.py
	$(BIN)/python -m tests.chaos_audit --rounds $(EXT4_CUTS)

soak: setup $(STAMPS)/dev
	$(BIN)/python -m loadtests.soak --seconds $(if $(filter file,$(origin SECONDS)),600,$(SECONDS))

conformance: setup $(STAMPS)/dev
	$(BIN)/python deploy/conformance

$(SANITIZED)/built: $(NATIVE) $(shell find bench broker tests -name '*.py') $(STAMPS)/build
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)/source
	cp -R broker ext proto setup.py pyproject.toml README.md LICENSE $(SANITIZED)/source
	BROKER_SANITIZE=1 $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(SANITIZED)/site ./$(SANITIZED)/source
	cp -R bench tests tools pyproject.toml $(SANITIZED)/site
	@touch $@

# A virtual environment with what the lock file says, and the native modules built in place.
setup: $(STAMPS)/build

build: $(STAMPS)/build

$(STAMPS)/venv:
	@test -n "$(PYTHON)" || { echo "broker: Python 3.11 to 3.14 is needed; on Debian or Ubuntu: apt-get install python3 python3-venv python3-dev" >&2; exit 1; }
	./deploy/system-packages build $(PYTHON)
	$(PYTHON) -m venv .venv
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: requirements/run.lock $(STAMPS)/venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/run.lock
	@touch $@

$(STAMPS)/build: $(NATIVE) $(STAMPS)/run
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(STAMPS)/dev $(STAMPS)/load: $(STAMPS)/%: requirements/%.lock $(STAMPS)/run
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r $<
	@touch $@

# Resolve the lock files anew (needs uv).
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements/run.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header -c requirements/run.lock \
		pyproject.toml --group test --group check -o requirements/dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header -c requirements/dev.lock \
		pyproject.toml --group load -o requirements/load.lock

clean:
	rm -rf .venv build broker/v1 broker/_native/*.so *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
