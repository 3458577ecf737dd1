#!/usr/bin/env bash
# Measures libdmapi against the kernel's own limit, in one run: `make bench`. Prints a table; docs/performance.md keeps
# one. The machine should do nothing else. `bench.sh PART`: that part alone: events, objects,
# scans, fuse or deaths. BENCH_FULL=1: scans of 1,000,000 objects, too (some minutes and 3 GiB of disk).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=demo/lib.sh
. "$here/../demo/lib.sh"
# shellcheck source=demo/service.sh
. "$here/../demo/service.sh"
PATH=$(dirname "$HSM_BIN")/../bench:$PATH

KILLS=20
SESSIONS=1000
EVENTS=10000

# Reads numbers, prints "median (min to max)".
summary() { sort -n | awk '{v[NR] = $1} END {printf "%.1f (%.1f to %.1f)", v[int((NR + 1) / 2)], v[1], v[NR]}'; }
now_us() { echo "${EPOCHREALTIME/[.,]/}"; }
blocked() { [ "$(status_value events_blocked)" -ge "$1" ]; }
line() { printf '%-58s %s\n' "$1" "$2"; }

start_daemon() {
  : >"$work/recalld.log"
  start_recalld "$work/recalld.log" --store "$work/archive" "$work/managed"
  wait_for 20 grep -q serving "$work/recalld.log" || fail "a serving recall daemon" "$(tail -3 "$work/recalld.log")" "$work/recalld.log"
}

# A reader that waits for a recall daemon which is stopped.
block_reader() {
  hsm_migrate --store "$work/archive" "$work/managed/victim" >"$work/migrate.log" 2>&1
  kill -STOP "$recalld_pid"
  cmp "$work/managed/victim" "$work/victim" &
  reader=$!
  own "$reader"
  wait_for 20 blocked 1 || fail "a blocked reader" "none" "$work/dmapid.log"
}

# Milliseconds from the kill of the worker to right data in the reader.
kill_worker() {
  local worker start
  block_reader
  worker=$(status_value worker_pid)
  # The supervisor holds a worker back that lives shorter than a second, as one that cannot start.
  sleep 1.1
  start=$(now_us)
  kill -9 "$worker"
  kill -CONT "$recalld_pid"
  wait "$reader" || fail "right data" "status $?" "$work/recalld.log"
  echo $(($(now_us) - start)) | awk '{print $1 / 1000}' >>"$1"
}

kill_recalld() {
  local start
  block_reader
  start=$(now_us)
  kill -9 "$recalld_pid"
  wait "$recalld_pid" 2>/dev/null || true
  start_recalld "$work/recalld.log" --store "$work/archive" "$work/managed"
  wait "$reader" || fail "right data" "status $?" "$work/recalld.log"
  echo $(($(now_us) - start)) | awk '{print $1 / 1000}' >>"$1"
}

# The FUSE source beside the file system behind it and a FUSE server that does nothing else.
fuse_rows() {
  local bare mounts=("${owned_mounts[@]}")
  make_file_system xfs "$work/fuse" 2G
  mkdir "$work"/fuse/{plain,bare,managed} "$work"/{bare,over_fuse,responder}
  fuse_bare "$work/fuse/bare" "$work/bare" 2>"$work/fuse_bare.log" &
  bare=$!
  own "$bare"
  wait_for 20 mountpoint -q "$work/bare" || fail "a bare FUSE mount" "$(cat "$work/fuse_bare.log")" "$work/fuse_bare.log"
  owned_mounts+=("$work/bare")
  dmctl mount --source fuse "$work/fuse/managed" "$work/over_fuse" >"$work/mount.log" 2>&1 || fail "a FUSE mount" "$(cat "$work/mount.log")" "$work/dmapid.log"
  owned_mounts+=("$work/over_fuse")
  bench_fuse "$work/fuse/plain" "$work/bare" "$work/over_fuse" "$work/responder" "$(status_value worker_pid)" "$bare"
  umount "$work/over_fuse"
  umount "$work/bare"
  wait "$bare"
  wait_for 20 umount "$work/fuse" || fail "a file system that nobody uses" "it is busy" "$work/dmapid.log"
  owned_mounts=("${mounts[@]}")
}

# Scans of file systems that hold nothing else.
scans() {
  local count kind directory
  printf '%-64s %8s %10s %8s %6s   %s\n' "scan" "us/inode" "inodes/s" "cpu us" "MiB" "ratio of cpu us"
  for kind in xfs ext4 btrfs; do
    for count in 10000 100000 ${BENCH_FULL:+1000000}; do
      [ "$count" -lt 1000000 ] || [ "$kind" = xfs ] || continue
      directory=$work/scan-$kind-$count
      # ext4 makes an inode for each 16 KiB.
      make_file_system "$kind" "$directory" "$((count / 1000 * 20 + 512))M" >"$work/mkfs.log" 2>&1
      dmctl manage "$directory" >>"$work/manage.log" 2>&1 || fail "a managed file system" "$(tail -3 "$work/manage.log")" "$work/dmapid.log"
      say "-- $kind"
      bench_scan "$directory" "$count"
      dmctl umount "$directory" >>"$work/manage.log" 2>&1 || fail "an unmounted file system" "$(tail -3 "$work/manage.log")" "$work/dmapid.log"
      unset 'owned_mounts[-1]'
      rm -f "$directory.img"
    done
  done
}

only=${1:-}
part() { [ "${only:-$1}" = "$1" ]; }

begin_work bench
require_programs
kernel_can || { say "bench: kernel $(uname -r) has no fanotify pre-content events"; exit 1; }
for name in plain raw managed; do make_file_system xfs "$work/$name" 512M; done
start_service
dmctl manage "$work/managed" >"$work/manage.log" 2>&1 || fail "a managed file system" "$(cat "$work/manage.log")" "$work/dmapid.log"
say "kernel $(uname -r), xfs on a loop device, $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), $(date -u +%Y-%m-%d)"
say ""
if part events; then
  bench_calls "$work/plain" "$work/raw" "$work/managed" "$(status_value worker_pid)" "$work/state"
  say ""
fi
if part objects; then
  bench_objects "$work/managed" "$(status_value worker_pid)"
  say ""
fi
if part scans; then
  scans
  say ""
fi
if part fuse; then
  fuse_rows
  say ""
fi
part deaths || exit 0

head -c 65536 /dev/urandom >"$work/victim"
cp "$work/victim" "$work/managed/victim"
sync -f "$work/managed"
start_daemon
for ((i = 0; i < KILLS; i++)); do kill_worker "$work/worker.times"; done
line "kill -9 of the worker to right data, 64 KiB, ms" "$(summary <"$work/worker.times")"
for ((i = 0; i < KILLS; i++)); do kill_recalld "$work/recalld.times"; done
line "kill -9 of the recall daemon and its restart to right data, ms" "$(summary <"$work/recalld.times")"
kill -TERM "$recalld_pid"
wait "$recalld_pid" || true

bench_recovery fill $SESSIONS $EVENTS
for ((i = 0; i < KILLS / 2; i++)); do
  sleep 1.1
  bench_recovery kill "$(status_value worker_pid)" >>"$work/recovery.times"
  bench_recovery check $SESSIONS $EVENTS >/dev/null || fail "$SESSIONS sessions, $EVENTS events" "$(bench_recovery check $SESSIONS $EVENTS)" "$work/dmapid.log"
done
line "kill of the worker to an answer, $SESSIONS sessions, $EVENTS events, ms" "$(summary <"$work/recovery.times")"
umount "$work/managed"
owned_mounts=("$work/plain" "$work/raw")
stop_service
dmapid --foreground >>"$work/dmapid.log" 2>&1 &
supervisor_pid=$!
restart_ms=$(bench_recovery wait)
bench_recovery check $SESSIONS $EVENTS >/dev/null || fail "$SESSIONS sessions, $EVENTS events" "$(bench_recovery check $SESSIONS $EVENTS)" "$work/dmapid.log"
line "start of dmapid to an answer, the same state, ms" "$restart_ms"
bench_recovery end
