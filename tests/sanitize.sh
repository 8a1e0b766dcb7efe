#!/usr/bin/env bash
# Runs the native code under AddressSanitizer and UndefinedBehaviorSanitizer, which end a test at the first wrong access.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: tests/sanitize.sh [PYTEST OPTIONS]

Builds the C++ extensions with sanitizers into build/sanitized, apart from the installed ones, and runs the tests of
native code with them, or of the files that are given. Needs g++ with libasan and libubsan. The code for AVX-512 is checked
on every x86-64 machine: where the processor lacks it, vectors are made of smaller ones.

Environment variables:
  SOURCES=DIR   build the extensions of another checkout

Examples:
  tests/sanitize.sh
  tests/sanitize.sh -m long tests/networks/test_recurrence_shapes.py
TEXT
}

case ${1:-} in --help | -h) usage; exit 0 ;; esac
cd "$(dirname "$0")/.."
# Not `prepare_environment`: it may install again, which compiles the installed extensions.
if [ -z "${VIRTUAL_ENV:-}" ]; then . .venv/bin/activate; fi
sources=${SOURCES:-$PWD}
built=$PWD/build/sanitized
folders=(rnn_zoos/networks/native generation/trainers/native loaders/native)

# torch brings the headers of pybind11.
includes=$(python -c 'import sysconfig, torch.utils.cpp_extension as cpp
print(*(f"-I{path}" for path in (sysconfig.get_paths()["include"], *cpp.include_paths())))')
flags="-std=c++17 -g1 -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -Wno-psabi"
flags+=" -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
grep -qw avx512dq /proc/cpuinfo || flags+=" -DEMULATED_AVX512"
export flags includes sources built

# compile SOURCE: bindings, which are slow to compile, without optimisation.
compile() {
    local folder level=-O1
    folder=$(dirname "$1")
    case $1 in */module.cpp) level=-O0 ;; esac
    mkdir -p "$built/$folder"
    # shellcheck disable=SC2086
    g++ $level $flags -I"$sources/$folder" -I"$sources/rnn_zoos/networks/native" $includes \
        -c "$sources/$1" -o "$built/${1%.cpp}.o"
}
export -f compile

# Compiled again only if a source or a flag has changed.
files=$(cd "$sources" && find "${folders[@]}" -name '*.cpp' -o -name '*.h' -o -name '*.inc' | sort)
wanted=$(cd "$sources" && { echo "$flags $includes"; echo "$files" | xargs cat; } | cksum)
if [ "$(cat "$built/stamp" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$built"
    echo "Compiling with sanitizers"
    echo "$files" | grep 'cpp$' | xargs -P "$(nproc)" -I{} bash -euc 'compile {}'
    for folder in "${folders[@]}"; do
        g++ -shared -fsanitize=address,undefined "$built/$folder"/*.o -o "$built/$folder/_native.so"
    done
    echo "$wanted" > "$built/stamp"
fi

chosen=
for argument in "$@"; do if [ -e "${argument%%::*}" ]; then chosen=yes; fi; done
if [ -z "$chosen" ]; then
    set -- tests/networks/test_recurrence.py tests/networks/test_recurrence_shapes.py \
        tests/generation/trainers/test_native.py tests/generation/trainers/test_native_shapes.py \
        tests/loaders/test_torch_dataset.py -m "not slow and not long" "$@"
fi
# Python itself frees nothing at its end, so leaks are not looked for; sizes that cannot be allocated are tests.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export SANITIZED=$built PYTHONPATH=tests/support${PYTHONPATH:+:$PYTHONPATH}
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
    python -m pytest -p sanitized -p no:cacheprovider "$@"
