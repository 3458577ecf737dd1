#!/usr/bin/env bash
# Installs the Debian packages that the build and the tests need, where they are missing, and says so.
set -euo pipefail

packages=(build-essential cmake pkg-config clang libclang-dev xfsprogs btrfs-progs e2fsprogs attr fio libssl-dev)
# Any Python will do that can make virtual environments.
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "deps: installing ${missing[*]} with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
fi
command -v cargo >/dev/null || { echo "deps: cargo is missing; install Rust 1.95 or newer (apt has an older one), then run again" >&2; exit 1; }
