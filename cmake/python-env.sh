#!/usr/bin/env bash
# Prints the path of a Python with pytest: from target/python, which is made here if need be, or the system's.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/target/python

has_pytest() { "$1" -c 'import pytest' >/dev/null 2>&1; }

if ! has_pytest "$venv/bin/python"; then
  echo "python: installing pytest with pip into $venv" >&2
  { python3 -m venv --clear "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check 'pytest>=7,<10'; } >&2 || true
fi
if has_pytest "$venv/bin/python"; then
  echo "$venv/bin/python"
elif has_pytest python3; then
  echo python3
else
  echo "python: no pip or no network for it: installing python3-pytest with apt-get" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pytest </dev/null >&2
  echo /usr/bin/python3
fi
