#!/usr/bin/env bash
# Readers over thousands of stubs, while the daemon's worker, the recall daemon and the migration are killed again and
# again: no wrong byte, no error, nobody stuck. `make storm` runs all of it, `make test` a slice.
# Usage: storm.sh [KIND] [SECONDS] [FILES] [READERS] [KILLS]
# STORM_SOURCE=fuse: through a FUSE mount; shared: through two of them, each with half of the readers; else fanotify.
#   KIND     file system: xfs, ext4, btrfs
#   SECONDS  an upper limit; the kills that did not fit in are said
#   KILLS    of the worker; each 10th also kills the recall daemon, each 15th the running hsm_migrate
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=demo/lib.sh
. "$here/../demo/lib.sh"
# shellcheck source=demo/service.sh
. "$here/../demo/service.sh"

kind=${1:-xfs} seconds=${2:-600} files=${3:-2000} readers=${4:-16} kills=${5:-200}
: "${STORM_READER:=$(dirname "$HSM_BIN")/../bench/storm_reader}"
FILE_BYTES=16384
# A worker that lives shorter than a second is held back by the supervisor, as one that cannot start would be.
LIFE_MS=1500
# No reader may wait longer for one file, whatever the machine does besides.
STUCK_SECONDS=120

start_daemon() { start_recalld "$work/recalld.log" --store "$work/archive" --threads 8 "$work/pool"; }

# Migrates what was recalled, until `stop` appears. Its own kill -9 is part of the storm.
migrate_for_ever() {
  while [ ! -e "$work/stop" ]; do
    hsm_migrate --store "$work/archive" "$work/pool" >>"$work/migrate.log" 2>&1 &
    echo $! >"$work/migrate.pid"
    wait $! 2>/dev/null || true
  done
}

# What is needed to understand a stuck reader, while it is stuck.
diagnose() {
  local pid
  {
    dmctl status
    dmctl sessions
    dmctl events
    for pid in $(pgrep -P "$reader_pid"); do
      dmctl explain "$pid"
      cat "/proc/$pid/stack" "/proc/$pid/syscall"
    done
    hsm_ls "$work/pool" | grep -v premigrated
  } >"$work/diagnosis" 2>&1
}

before_end() {
  touch "$work/stop"
  [ ! -e "$work/migrate.pid" ] || kill -9 "$(cat "$work/migrate.pid")" 2>/dev/null
}

make_files() {
  local i
  mkdir -p "$work/reference"
  # One random stream, cut into files.
  (cd "$work/reference" && head -c $((files * FILE_BYTES)) /dev/urandom | split -a 5 -d -b $FILE_BYTES - f)
  cp "$work/reference"/* "$work/pool/"
  sync -f "$work/pool"
}

last_kill_ms=0 count_kills=0 worker_kills=0 recalld_kills=0 migrate_kills=0
kill_once() {
  local worker
  count_kills=$((count_kills + 1))
  worker=$(status_value worker_pid) || return 0
  [ -n "$worker" ] || return 0
  kill -9 "$worker" 2>/dev/null && worker_kills=$((worker_kills + 1))
  last_kill_ms=$(now_ms)
  if [ $((count_kills % 10)) -eq 0 ]; then
    kill -9 "$recalld_pid" 2>/dev/null && recalld_kills=$((recalld_kills + 1))
    wait "$recalld_pid" 2>/dev/null || true
    start_daemon
  fi
  if [ $((count_kills % 15)) -eq 0 ]; then
    kill -9 "$(cat "$work/migrate.pid")" 2>/dev/null && migrate_kills=$((migrate_kills + 1))
  fi
  return 0
}

reads_done() { grep -c 'READ token' "$work/recalld.log" || true; }
worker_has_lived() { [ $(($(now_ms) - last_kill_ms)) -ge $LIFE_MS ]; }
recalls_grew() { [ "$(reads_done)" -gt "$1" ]; }

begin_work storm
require_programs
source=${STORM_SOURCE:-fanotify}
if [ "$source" != fanotify ]; then
  fuse_can || skip "/dev/fuse cannot be opened"
else
  kernel_can || skip "kernel $(uname -r) has no fanotify pre-content events"
fi
command -v "mkfs.$kind" >/dev/null || skip "no mkfs.$kind"
make_file_system "$kind" "$work/pool" 2G
make_files
start_service
manage() {
  "$@" >>"$work/manage.log" 2>&1 || fail "a managed file system" "$(cat "$work/manage.log")" "$work/dmapid.log"
}
pools=$work/pool
case $source in
  fanotify) manage dmctl manage "$work/pool" ;;
  fuse)
    # In place of the file system: nobody gets past it.
    owned_mounts+=("$work/pool")
    manage dmctl mount --source fuse "$work/pool" "$work/pool"
    ;;
  shared)
    mkdir "$work/second"
    pools=$work/pool:$work/second
    owned_mounts+=("$work/second" "$work/pool")
    manage dmctl mount --source fuse -o shared "$work/pool" "$work/second"
    manage dmctl mount --source fuse -o shared "$work/pool" "$work/pool"
    ;;
  *) fail "STORM_SOURCE=fanotify, fuse or shared" "$source" "none" ;;
esac
start_daemon
wait_for 60 grep -q serving "$work/recalld.log" || fail "a serving recall daemon" "$(tail -3 "$work/recalld.log")" "$work/recalld.log"
all_stubs() {
  hsm_migrate --store "$work/archive" "$work/pool" >"$work/first.log" 2>&1 && ! grep -q skipped "$work/first.log"
}
wait_for 300 all_stubs || fail "$files stubs" "$(tail -3 "$work/first.log")" "$work/first.log"

# Niced: reading what is here needs no help, and must not keep the migration from making stubs.
nice -n 19 "$STORM_READER" "$pools" "$work/reference" "$readers" 0 >"$work/readers.log" 2>"$work/readers.err" &
reader_pid=$!
own "$reader_pid"
migrate_for_ever &
migrator_pid=$!
own "$migrator_pid"
started_ms=$(now_ms)
deadline_ms=$((started_ms + seconds * 1000))
while [ "$count_kills" -lt "$kills" ] && [ "$(now_ms)" -lt "$deadline_ms" ]; do
  # Each kill meets recalls under way, where stubs are left.
  seen=$(reads_done)
  wait_for $STUCK_SECONDS worker_has_lived || true
  wait_for 20 recalls_grew "$seen" || true
  kill_once
done
kill -TERM "$reader_pid"
wait_for $STUCK_SECONDS process_gone "$reader_pid" || {
  diagnose || true
  fail "no stuck reader" "readers still there after $STUCK_SECONDS s: $(cat "$work/diagnosis")" "$work/dmapid.log"
}
touch "$work/stop"
status=0
wait "$reader_pid" || status=$?
wait_for $STUCK_SECONDS process_gone "$migrator_pid" || fail "the migration's end" "$(tail -2 "$work/migrate.log")" "$work/migrate.log"
result=$(cat "$work/readers.log")
took_ms=$(($(now_ms) - started_ms))
[ "$status" -eq 0 ] || fail "0 wrong bytes, 0 errors" "$result; $(head -3 "$work/readers.err")" "$work/dmapid.log"

# Everything is still there: without kills now.
"$STORM_READER" "$pools" "$work/reference" 2 1 >"$work/last.log" 2>&1 || fail "all files right at the end" "$(cat "$work/last.log")" "$work/recalld.log"
say "storm $kind $source: $files stubs, $readers readers, $worker_kills kills of the worker, $recalld_kills of the recall daemon, $migrate_kills of the migration in $(seconds $took_ms) s"
say "storm $kind $source: $result; $(reads_done) recalls, nobody stuck"
[ "$count_kills" -ge "$kills" ] || say "storm $kind $source: the $seconds s were over after $count_kills of $kills kills"
