#!/usr/bin/env bash
# Fuzzes one reader with libFuzzer under AddressSanitizer (leaks included) and UndefinedBehaviorSanitizer:
#   tools/fuzz.sh yaml|jsonl|parquet|tokenizer|safetensors [SECONDS] [FOLDER]
# FOLDER (default build/fuzz) keeps the program, the growing corpus and what is found; a finding belongs, mended, into
# tests/fuzz/cases/<target>/. Needs clang (CXX, else clang++-19 or clang++: Debian's clang-19 and libclang-rt-19-dev).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?a target: yaml, jsonl, parquet, tokenizer or safetensors} seconds=${2:-900} folder=${3:-build/fuzz}
cxx=${CXX:-$(command -v clang++-19 || command -v clang++ || true)}
[ -n "$cxx" ] || { echo "fuzz.sh: no clang++: apt-get install clang-19 libclang-rt-19-dev" >&2; exit 1; }

core=(core/error.cpp core/json.cpp)
rows=(datasets/text.cpp datasets/unpack.cpp datasets/gzip.cpp datasets/zstd.cpp models/tokenizer/utf8.cpp)
flags=() libraries=(-lz -lzstd -lcrypto) seeds=()
case $target in
  yaml) sources=(harness/yaml.cpp models/tokenizer/utf8.cpp); libraries+=(-lyaml-cpp); seeds=(experiments/*.yaml) ;;
  jsonl) sources=("${rows[@]}"); seeds=(tests/datasets/golden/parquet/*.jsonl) ;;
  parquet) sources=(datasets/parquet.cpp datasets/parquet/*.cpp "${rows[@]}"); libraries+=(-lsnappy)
           seeds=(tests/datasets/golden/parquet/*.parquet) ;;
  tokenizer) sources=(models/tokenizer.cpp models/tokenizer/*.cpp core/sha256.cpp core/log.cpp); libraries+=(-lpcre2-8 -lutf8proc) ;;
  safetensors)
    torch=${LIBTORCH:-$(echo .venv/lib/python3*/site-packages/torch)}
    sources=(models/safetensors.cpp models/safetensors_header.cpp core/atomic_file.cpp)
    flags=(-isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include")
    libraries+=(-L"$torch/lib" -ltorch_cpu -lc10 -Wl,-rpath,"$(realpath "$torch")/lib") ;;
  *) echo "fuzz.sh: unknown target '$target'; allowed: yaml, jsonl, parquet, tokenizer, safetensors" >&2; exit 1 ;;
esac

mkdir -p "$folder/$target.corpus" "$folder/$target.found"
[ ${#seeds[@]} -eq 0 ] || cp "${seeds[@]}" "$folder/$target.corpus/"
"$cxx" -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -I. "${flags[@]}" \
  -DFUZZ_TARGET="$target" tests/fuzz/fuzzer.cpp "tests/fuzz/$target.cpp" "${core[@]}" "${sources[@]}" "${libraries[@]}" -o "$folder/$target"
exec env TMPDIR=/dev/shm UBSAN_OPTIONS=print_stacktrace=1 "$folder/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 \
  -max_len=65536 -print_final_stats=1 -artifact_prefix="$folder/$target.found/" "$folder/$target.corpus" "tests/fuzz/cases/$target"
