# SPDX-License-Identifier: MIT
# Evenkeel. Meson does the building; these are the doors to it. `make help` lists them.
# Missing Debian packages are installed (as root or with sudo), or the exact command is printed.
SHELL = /bin/bash
PREFIX ?= /usr/local
LISTEN ?= 127.0.0.1:8080
NEED = scripts/need.sh

.PHONY: prove-fuzz prove-leak prove-schema bench-repeat prove-same prove-faults prove-resume prove-cuts prove-kills prove-books prove-disk prove-book-seeds prove-day prove-day3 prove-day15 prove-shed prove-traces bench-accuracy prove-fair prove-step prove-prefix help demo demo-check build test test-fast tidy bench bench-relay fuzz asan tsan docs install clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24

build: ## compile build/evenkeel
	@$(NEED) build
	@test -f build/build.ninja || meson setup build -Dtests=false --buildtype=release >build.log 2>&1 || { cat build.log; exit 1; }
	@ninja -C build

demo: build ## start the door with its own engine and the demo model; Ctrl-C ends it
	build/evenkeel serve --model models/demo.gguf --listen $(LISTEN)

demo-check: build ## start the same, ask a question, compare the answer, stop
	@$(NEED) demo
	@scripts/demo-check.sh build/evenkeel models/demo.gguf

test: ## everything, with the sanitizers; the last line says how many passed (under 20 minutes)
	@$(NEED) build test node
	@scripts/test.sh full

test-fast: ## the house rules, unit, kernel and golden tests (under a minute once built)
	@$(NEED) build test
	@scripts/test.sh fast

tidy: ## check the house rules
	@python3 tests/tidy/tidy.py

bench: ## the measurements in bench/, each against a named peer
	@$(NEED) build test bench node
	@bench/run.sh

bench-relay: ## one relayed token and one short request against haproxy and nginx
	@$(NEED) build test bench node
	@bench/run.sh relay

.PHONY: bench-streams
bench-streams: ## what 9,000 open streams cost the door in memory
	@$(NEED) build test bench node
	@bench/run.sh streams

prove-day: build ## a day of R1 traffic on virtual time at 1.5x capacity, seven policies (needs the traces)
	@build/evenkeel sim tests/sim/r1-day.yaml --accuracy bench/results/accuracy.csv --csv bench/results/prove-day.csv --plot bench/results/prove-day.svg

prove-day3: build ## the same day at 3x capacity
	@build/evenkeel sim tests/sim/r1-day.yaml --set load=3 --policy cap,bands,refuse,desk --accuracy bench/results/accuracy.csv --csv bench/results/prove-day3.csv --plot bench/results/prove-day3.svg

prove-day15: build ## the same day asking for 1.5 times capacity on average (2.81 in its peak)
	@build/evenkeel sim tests/sim/r1-day.yaml --set load=2.81 --policy cap,refuse,desk --accuracy bench/results/accuracy.csv --csv bench/results/prove-day15.csv --plot bench/results/prove-day15.svg

.PHONY: prove-overflow prove-borrow
prove-overflow: build ## the R1 day with a lender: cost against waiting, four ways to borrow (needs the traces)
	@build/evenkeel sim tests/sim/overflow.yaml --csv bench/results/prove-overflow.csv --plot docs/why/overflow.svg

bench-ceiling: ## what any policy could have on those days, beside what is had: from the CSVs of prove-day, -day15 and -day3
	@python3 bench/ceiling.py bench/results/ceiling.svg 1.5=bench/results/prove-day.csv 2.81=bench/results/prove-day15.csv 3=bench/results/prove-day3.csv

prove-shed: build ## 3.2 times the capacity: who is sent away, and does it come to rest
	@build/evenkeel sim tests/sim/shed.yaml --csv bench/results/prove-shed.csv --plot docs/why/shed.svg

# The commit that touched src/ last, and whether it is that: a row of a proof is of so much.
SRC_TAG = $$(git log -1 --format=%h -- src)$$(git diff --quiet HEAD -- src || echo -dirty)
ENGINE_TAG = $$(git log -1 --format=%h -- $(ENGINE))$$(git diff --quiet HEAD -- $(ENGINE) || echo -dirty)
ENGINE = src/engine src/kernel src/base

prove-faults: build ## 1,000 requests under each fault of a bad upstream beside a good one; resumable
	@EK_CASES=1000 EK_KINDS_AT_ONCE=$${EK_KINDS_AT_ONCE:-4} EK_TAG="$(SRC_TAG)" \
	EK_CSV=$${EK_CSV:-bench/results/prove-faults.csv} EK_TEST_TIMEOUT=28800000 \
	tests/scenario/run.sh tests/scenario/s56_elsewhere.mjs

prove-borrow: ## our own engines killed under load with a lender standing by, 400 requests; budgets
	@$(NEED) build test node
	@test -f build-bench/build.ninja || meson setup build-bench --buildtype=release >/dev/null
	@ninja -C build-bench evenkeel tests/tools/pacer >/dev/null
	@EVENKEEL=$$PWD/build-bench/evenkeel EK_CASES=400 EK_TEST_TIMEOUT=7200000 tests/scenario/run.sh tests/scenario/s61_borrow.mjs

prove-cuts: build ## 1,000 streams cut at random points between two engines of our own
	@EK_CASES=1000 EK_TEST_TIMEOUT=7200000 tests/scenario/run.sh tests/scenario/s58_cuts.mjs

prove-resume: build ## 500 clients cut at random five times each, the door killed and started again once
	@EK_CASES=500 EK_TEST_TIMEOUT=7200000 EK_CSV=bench/results/prove-resume.csv tests/scenario/run.sh tests/scenario/s74_resume.mjs

.PHONY: prove-swap
prove-swap: build ## 200 streams of real clients, three new programs one after the other
	@EK_CASES=200 EK_TEST_TIMEOUT=3600000 tests/scenario/run.sh tests/scenario/s78_swap.mjs

prove-schema: ## 500 JSON schemas, random models and temperatures, judged by python3-jsonschema
	@$(NEED) build test
	@test -f build-bench/build.ninja || meson setup build-bench --buildtype=release >/dev/null
	@ninja -C build-bench tests/tools/schema_words >/dev/null
	@python3 tests/live/engine_schemas.py build-bench/tests/tools/schema_words --count 500 --csv bench/results/prove-schema.csv

prove-fair: build ## fairness on an Arena-like mix, and what a client gains by splitting itself
	@build/evenkeel sim tests/sim/fair.yaml --csv bench/results/prove-fair.csv --plot bench/results/prove-fair.svg
	@build/evenkeel sim tests/sim/split.yaml --set split_into=0 --csv bench/results/prove-split-none.csv
	@build/evenkeel sim tests/sim/split.yaml --csv bench/results/prove-split.csv

prove-step: build ## a step of 1.4x in the load, and back; then with eleven other seeds
	@build/evenkeel sim tests/sim/step.yaml --csv bench/results/prove-step.csv --plot bench/results/prove-step.svg
	@bench/step-seeds.sh build/evenkeel bench/results/prove-step-seeds.csv

prove-prefix: build ## what knowing prefixes is worth: a committed mix, and Mooncake's hour (needs the traces)
	@build/evenkeel sim tests/sim/prefix.yaml --csv bench/results/prove-prefix.csv
	@build/evenkeel sim tests/sim/mooncake.yaml --csv bench/results/prove-mooncake.csv
	@build/evenkeel sim tests/sim/mooncake.yaml --set cache_tokens=10000000000 --policy desk

prove-kills: ## the ledger's kill -9 test, EK_KILLS (300) kills on each database
	@$(NEED) build test
	@test -f build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan tests/unit/unit_ledger_kill
	@EK_KILLS=$${EK_KILLS:-300} build-asan/tests/unit/unit_ledger_kill

prove-disk: ## power cuts under the ledger's SQLite, EK_DISK_SEEDS (300) seeds of eight cuts each
	@$(NEED) build test
	@test -f build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan tests/unit/unit_ledger_disk
	@EK_DISK_SEEDS=$${EK_DISK_SEEDS:-300} build-asan/tests/unit/unit_ledger_disk

prove-books: build ## 200 doors under random load with kill -9 of door, PostgreSQL or Redis; resumable
	@$(NEED) build test
	@python3 tests/live/books_kills.py build/evenkeel $${RUNS:-200} bench/results/prove-books.csv

prove-book-seeds: ## the book and a store in memory at random, EK_BOOK_SEEDS (10000) seeds
	@$(NEED) build test
	@test -f build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan tests/unit/unit_ledger_seeds
	@EK_BOOK_SEEDS=$${EK_BOOK_SEEDS:-10000} build-asan/tests/unit/unit_ledger_seeds

prove-same: ## EK_SAME_SCHEDULES (2000) random schedules: every token and logprob as the request alone; resumable
	@$(NEED) build test
	@test -f build-bench/build.ninja || meson setup build-bench --buildtype=release >/dev/null
	@ninja -C build-bench tests/unit/unit_engine_same >/dev/null
	@EK_SAME_SCHEDULES=$${EK_SAME_SCHEDULES:-2000} EK_SAME_TAG="$(ENGINE_TAG)" \
	EK_SAME_CSV=$${EK_SAME_CSV:-bench/results/prove-same.csv} nice -n 10 build-bench/tests/unit/unit_engine_same

prove-traces: build ## Azure's hour and BurstGPT's week, three policies (needs the traces)
	@build/evenkeel sim tests/sim/azure-code.yaml --policy cap,refuse,desk --csv bench/results/prove-azure.csv
	@build/evenkeel sim tests/sim/burst-week.yaml --policy cap,refuse,desk --csv bench/results/prove-burst.csv

bench-repeat: ## the CPU that a repeat of a waiting request costs the door, in process, release build
	@$(NEED) build test
	@test -f build-bench/build.ninja || meson setup build-bench --buildtype=release >/dev/null
	@ninja -C build-bench tests/unit/unit_door_honest >/dev/null
	@for i in 1 2 3 4 5; do build-bench/tests/unit/unit_door_honest 2>&1 | grep 'a repeat of'; done

bench-accuracy: build ## how right the demo model is at 100, 75, 50, 25 and 0 % of its usual thought
	@python3 bench/accuracy.py --count 20

fuzz: ## every fuzzer for FUZZ_SECONDS (600) side by side
	@$(NEED) build test
	@test -f build-fuzz/build.ninja || CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-fuzz fuzzers
	@scripts/fuzz.sh build-fuzz $${FUZZ_SECONDS:-600}; ! grep -q bad build-fuzz/results.txt

prove-fuzz: ## fuzzers of GGUF, template, tokenizer, schema and KV files, EK_SECONDS (600) of a core each; resumable
	@$(NEED) build test
	@test -f build-fuzz/build.ninja || CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-fuzz $(addprefix tests/fuzz/fuzz_,gguf template tokenizer schema kvfile) >/dev/null
	@EK_TAG="$(ENGINE_TAG)" scripts/prove-fuzz.sh build-fuzz $${EK_SECONDS:-600} $${EK_CSV:-bench/results/prove-fuzz.csv}

prove-leak: build ## EK_REQUESTS (10000) to the engine alone, its memory after each tenth, judged by the second half
	@python3 bench/crowd.py build/evenkeel models/demo.gguf --alone --leak --clients 32 --requests $${EK_REQUESTS:-10000} \
	  --answer 4 --prompt 16 --seconds 7200 --csv $${EK_CSV:-bench/results/prove-leak.csv} -- --ctx 512

asan: ## build with ASan and UBSan in build-asan/
	@$(NEED) build test
	@test -f build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan

tsan: ## build with TSan in build-tsan/ and run what has threads
	@$(NEED) build test
	@test -f build-tsan/build.ninja || meson setup build-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@ninja -C build-tsan threaded
	@meson test -C build-tsan --no-rebuild --print-errorlogs --suite threads --wrapper "setarch $$(uname -m) -R"

docs: build ## write docs/options.md, docs/errors.md and docs/man/evenkeel.yaml.5 from their tables
	@build/evenkeel help --markdown-options > docs/options.md
	@build/evenkeel help --markdown-errors > docs/errors.md
	@build/evenkeel help --man-options > docs/man/evenkeel.yaml.5

install: build ## install under PREFIX (/usr/local)
	meson configure build -Dprefix=$(PREFIX)
	meson install -C build

clean: ## remove what was built
	rm -rf build build-*
