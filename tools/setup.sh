#!/usr/bin/env bash
# Installs what the build needs and is not there yet: Debian packages (as root or through sudo) and LibTorch, as the wheel of PyTorch,
# into the project's own .venv. Does nothing, fast, when all is there. LIBTORCH=/path skips the wheel.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build make git ccache pkg-config python3 python3-venv ca-certificates
  openmpi-bin libopenmpi-dev libyaml-cpp-dev libsqlite3-dev libsqlitecpp-dev libgtest-dev libgmock-dev
  libcli11-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libssl-dev zlib1g-dev libzstd-dev libsnappy-dev libcurl4-openssl-dev)
torch=2.13.0

fail() { echo "setup: $*" >&2; exit 1; }

if command -v dpkg-query >/dev/null; then
  missing=()
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    run=()
    if [ "$(id -u)" != 0 ]; then
      command -v sudo >/dev/null || fail "these Debian packages are missing, and there is neither root nor sudo to install them: ${missing[*]}"
      run=(sudo)
    fi
    echo "setup: installing ${missing[*]}" >&2
    "${run[@]}" apt-get update -q >&2 || fail "apt-get update failed: is the network there?"
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2 ||
      fail "apt-get could not install: ${missing[*]}"
  fi
else
  echo "setup: not a Debian system: the packages ${packages[*]} are taken to be there" >&2
fi

if [ -n "${LIBTORCH:-}" ]; then
  [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || fail "LIBTORCH=$LIBTORCH holds no lib/libtorch_cpu.so"
elif ! compgen -G ".venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so" >/dev/null; then
  echo "setup: installing LibTorch (the wheel torch==$torch) into .venv" >&2
  # The system's Python: a machine may have others first in PATH for which there is no wheel.
  [ -x .venv/bin/pip ] || /usr/bin/python3 -m venv .venv || fail "python3 -m venv .venv failed"
  # Only the libraries and headers are used: no Python dependency is needed.
  .venv/bin/pip install -q --no-deps "torch==$torch" >&2 ||
    fail "pip could not install torch==$torch; give another LibTorch 2.11 or newer with LIBTORCH=/path"
fi
