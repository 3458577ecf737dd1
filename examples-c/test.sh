#!/usr/bin/env bash
# Runs a tutorial against a private service and checks what it prints. Usage: test.sh tokens|recall|watch
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=demo/lib.sh
. "$here/../demo/lib.sh"
# shellcheck source=demo/service.sh
. "$here/../demo/service.sh"
PATH=$(dirname "$HSM_BIN"):$PATH
DEADLINE_S=60

prints() { grep -qE "$1" "$work/out"; }
must_print() {
  local line
  for line in "$@"; do
    prints "$line" || fail "$line" "$(cat "$work/out")" "$work/out"
  done
}
managed_pool() {
  kernel_can || skip "kernel $(uname -r) has no fanotify pre-content events"
  make_file_system xfs "$work/pool" 512M
  dmctl manage "$work/pool" >"$work/manage.log" 2>&1 || fail "a managed file system" "$(cat "$work/manage.log")" "$work/dmapid.log"
}
run() { timeout -s KILL $DEADLINE_S "$@" >"$work/out" 2>&1 || fail "$1 to succeed" "$(cat "$work/out")" "$work/dmapid.log"; }

begin_work tutorial
start_service
case ${1:?usage: test.sh tokens|recall|watch} in
  tokens)
    run tokens
    must_print '^child: session [0-9]+, token [0-9]+ with the message "page 7", and gone$' \
      '^parent: token [0-9]+ carries "page 7"$' '^parent: answered; a second answer fails with No such process$'
    ;;
  recall)
    managed_pool
    head -c 20000 /dev/urandom >"$work/pool/file"
    sync -f "$work/pool"
    run recall "$work/pool/file"
    must_print '^migrated: 19 KiB of .* are in memory only$' '^event: READ of bytes 0\.\.[0-9]+, token [0-9]+$' \
      '^reader got the right 20000 bytes$'
    ;;
  watch)
    managed_pool
    timeout -s KILL $DEADLINE_S watch "$work/pool" 3 >"$work/out" 2>&1 &
    watcher=$!
    own "$watcher"
    wait_for $DEADLINE_S prints '^watching' || fail "watching" "$(cat "$work/out")" "$work/dmapid.log"
    touch "$work/pool/a"
    rm "$work/pool/a"
    wait "$watcher" || fail "watch to succeed" "$(cat "$work/out")" "$work/dmapid.log"
    must_print '^POSTCREATE "a" mode 100644$'
    ;;
esac
say "$1: good"
