# Thin: the build is CMake's. `make quickstart` and `make test` do all the set-up by themselves.
.PHONY: quickstart test build setup clean
jobs ?= $(shell nproc)

quickstart: build
	@. build/env.sh && mpirun -n 2 build/harness run experiments/quickstart.yaml

test: build
	@. build/env.sh && cd build && ctest --output-on-failure -j $(jobs)

build: setup
	@[ -f build/build.ninja ] || cmake --preset release
	@cmake --build build -j $(jobs)

setup:
	@bash tools/setup.sh

clean:
	rm -rf build build-dev build-asan
