# The ways into the project. What they do is in CMakePresets.json, scripts/ and deploy/.

JOBS ?= 2
BUILD := build

.PHONY: help deps build run test bench tidy format asan tsan fuzz clean

help:
	@echo 'Usage: make TARGET'
	@echo
	@echo '  deps    install what building and running need (Debian 12; root or sudo)'
	@echo '  build   build segmentd and segctl into $(BUILD)/bin'
	@echo '  run     from nothing to membership changes on the screen'
	@echo '  test    build and run all tests, with a real Kafka broker'
	@echo '  bench   build and run the benchmarks'
	@echo '  asan    run the tests under the address and undefined-behaviour sanitizers'
	@echo '  tsan    run the tests under the thread sanitizer'
	@echo '  fuzz    run each fuzz target for FUZZ_SECONDS (60)'
	@echo '  tidy    check format and run clang-tidy'
	@echo '  format  format the sources'
	@echo '  clean   remove what was built; the dependencies stay'
	@echo
	@echo 'JOBS=N builds and tests with N processes (now $(JOBS)).'

deps:
	@scripts/deps.sh

$(BUILD)/build.ninja: | deps
	cmake --preset release

build: deps $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS) segmentd segctl

run: build
	deploy/demo/run

test: deps $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS)
	tests/run $(BUILD) -j $(JOBS)

bench: deps $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS) benchmarks
	bench/run $(BUILD)/bench

asan tsan: deps
	test -f build-$@/build.ninja || cmake --preset $@
	ninja -C build-$@ -j $(JOBS)
	tests/run build-$@ -j $(JOBS)

fuzz: deps
	test -f build-fuzz/build.ninja || cmake --preset fuzz
	ninja -C build-fuzz -j $(JOBS) fuzzers
	tests/fuzz/run build-fuzz/fuzz

tidy: deps
	scripts/format.sh --check
	test -f build-tidy/build.ninja || cmake --preset tidy
	ninja -C build-tidy -k 0 -j $(JOBS)

format: deps
	scripts/format.sh

clean:
	rm -rf build build-dev build-asan build-tsan build-tidy build-fuzz
