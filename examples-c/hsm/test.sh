#!/usr/bin/env bash
# The HSM on one file system, from migration to deletion, with a kill in each place. Usage: test.sh KIND
# Exit: 0 good, 1 a check failed (it says which), 77 skipped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=demo/lib.sh
. "$here/../../demo/lib.sh"
# shellcheck source=demo/service.sh
. "$here/../../demo/service.sh"

kind=${1:?usage: test.sh KIND}
# Long enough for any machine; nothing waits this long when it works.
DEADLINE_S=60

state_of() { hsm_ls --json "$1" | grep -o '"state": "[a-z]*"' | cut -d'"' -f4; }
local_of() { echo $(($(stat -c %b "$1") * 512)); }
objects() { find "$work/archive" -type f ! -name '*.tmp' | wc -l; }
has_state() { [ "$(state_of "$1")" = "$2" ]; }
has_objects() { [ "$(objects)" -eq "$1" ]; }
logged() { grep -qE "$1" "$work/recalld.log"; }
# More than the blocks that the attributes of a stub need.
recall_under_way() { [ "$(local_of pool/dir/sub/chunks)" -gt 300000 ]; }

expect() { # WHAT EXPECTED GOT
  [ "$2" = "$3" ] || fail "$1: $2" "$3" "$work/recalld.log"
}
# "busy" for a moment: the daemon answers several events of a file one after the other.
expect_state() { wait_for $DEADLINE_S has_state "$1" "$2" || fail "state of $1: $2" "$(state_of "$1")" "$work/recalld.log"; }
expect_same() { cmp "$1" "$2" >"$work/cmp.log" 2>&1 || fail "$1 like $2" "$(cat "$work/cmp.log")" "$work/recalld.log"; }
eventually() { # WHAT COMMAND...
  local what=$1
  shift
  wait_for $DEADLINE_S "$@" || fail "$what within $DEADLINE_S s" "not yet; $(tail -2 "$work/recalld.log")" "$work/recalld.log"
}
# A user's command, with a limit: a held process is freed by its signal.
user() { timeout -s KILL $DEADLINE_S "$@"; }

migrate() { hsm_migrate --store "$work/archive" --verbose "$@" >"$work/migrate.log" 2>&1; }
# A file that was just closed may still be on its way out of somebody's hands: then it is skipped, and tried again.
migrate_all() { migrate "$@" && ! grep -q skipped "$work/migrate.log"; }
must_migrate() {
  wait_for $DEADLINE_S migrate_all "$@" || fail "hsm_migrate $*" "$(tail -3 "$work/migrate.log")" "$work/migrate.log"
  local path
  for path in "$@"; do
    [ ! -f "$path" ] || expect_state "$path" migrated
  done
}
start_daemon() {
  : >"$work/recalld.log"
  start_recalld "$work/recalld.log" --store "$work/archive" "$@" "$work/pool"
  eventually "a serving recall daemon" logged serving
}
kill_daemon() {
  kill -9 "$recalld_pid"
  wait "$recalld_pid" 2>/dev/null || true
}

make_files() {
  mkdir -p "$work/reference/dir/sub"
  cd "$work/reference"
  : >empty
  printf 'x' >tiny
  head -c 4096 /dev/urandom >block
  head -c 100001 /dev/urandom >dir/odd
  head -c 3145729 /dev/urandom >dir/sub/chunks
  head -c 65536 /dev/urandom >readonly
  truncate -s 3M sparse
  head -c 5000 /dev/urandom | dd of=sparse bs=1M seek=1 conv=notrunc status=none
  head -c 8192 /dev/urandom >linked
  ln linked link2
  ln -s block symlink
  chmod 0 readonly
  cp -a . "$work/pool/"
  cd "$work"
  sync -f pool
}
facts() { (cd "$1" && find . -type f -printf '%P %s %m %U:%G %T@\n' | sort); }

whole_life() {
  facts pool >facts.before
  must_migrate pool
  facts pool >facts.after
  expect_same facts.after facts.before
  for file in tiny block dir/odd dir/sub/chunks readonly sparse linked link2; do
    expect_state "pool/$file" migrated
  done
  expect_state pool/empty resident
  expect "objects in the archive" 7 "$(objects)"
  [ "$(local_of pool/dir/sub/chunks)" -lt 200000 ] || fail "freed space" "$(local_of pool/dir/sub/chunks) bytes here" migrate.log
  for file in tiny block dir/odd dir/sub/chunks readonly sparse linked link2; do
    user cmp "pool/$file" "reference/$file" || fail "$file as it was" "different" "$work/recalld.log"
    expect_state "pool/$file" premigrated
  done
  facts pool >facts.after
  expect_same facts.after facts.before

  # What is premigrated is not copied again, only freed.
  must_migrate pool/dir
  grep -q ', 0 B copied' migrate.log || fail "0 B copied" "$(tail -1 migrate.log)" migrate.log
  hsm_recall --store archive pool/dir >recall.log 2>&1 || fail "recall" "$(tail -3 recall.log)" recall.log
  expect_state pool/dir/odd premigrated
  expect_same pool/dir/odd reference/dir/odd
  hsm_migrate --store archive --dry-run pool >dry.log 2>&1
  expect_state pool/dir/odd premigrated
}

skips_what_is_open() {
  exec 9<pool/block
  migrate pool/block || fail "a skip is no failure" "$(cat migrate.log)" migrate.log
  exec 9<&-
  grep -q 'skipped: open or mapped' migrate.log || fail "skipped: open or mapped" "$(cat migrate.log)" migrate.log
  expect_state pool/block premigrated
  user cmp pool/block reference/block
}

notices_changes() {
  must_migrate pool/block pool/tiny pool/linked
  before=$(objects)
  user sh -c 'printf y >>pool/block'
  cp reference/block expected && printf y >>expected
  expect_same pool/block expected
  expect_state pool/block resident
  eventually "the stale object removed" has_objects $((before - 1))
  user sh -c 'printf new >pool/tiny'
  expect "content of tiny" new "$(cat pool/tiny)"
  expect_state pool/tiny resident
  user truncate -s 100 pool/linked
  head -c 100 reference/linked >expected
  expect_same pool/linked expected
  # A premigrated file that is changed must be copied anew, whatever its times say.
  must_migrate pool/block
  user cmp pool/block <(cat reference/block; printf y)
  stamp=$(stat -c %y pool/block)
  printf z | dd of=pool/block bs=1 seek=10 conv=notrunc status=none
  touch -d "$stamp" pool/block
  cp pool/block expected
  must_migrate pool/block
  user cmp pool/block expected || fail "the changed data" "older data" "$work/recalld.log"
}

forgets_deleted_files() {
  must_migrate pool/readonly
  before=$(objects)
  user rm -f pool/readonly
  eventually "the object of a deleted file removed" has_objects $((before - 1))

  # Deleted while somebody has it open, and read afterwards.
  cp reference/dir/odd pool/unlinked
  sync -f pool
  must_migrate pool/unlinked
  before=$(objects)
  exec 9<pool/unlinked
  user rm pool/unlinked
  user cmp - reference/dir/odd <&9 || fail "the data of a deleted file that is open" "other data" "$work/recalld.log"
  exec 9<&-
  eventually "the object removed after the last close" has_objects $((before - 1))
}

reports_a_damaged_object() {
  must_migrate pool/dir/odd
  object=$(find archive -type f -size 100001c)
  cp "$object" saved
  printf 'damage' | dd of="$object" bs=1 seek=777 conv=notrunc status=none
  if user cat pool/dir/odd >got 2>got.err; then
    fail "an I/O error" "data" "$work/recalld.log"
  fi
  grep -q 'Input/output error' got.err || fail "EIO" "$(cat got.err)" "$work/recalld.log"
  expect_state pool/dir/odd migrated
  cp saved "$object"
  user cmp pool/dir/odd reference/dir/odd || fail "right data" "other data" "$work/recalld.log"
}

# In mid recall: the daemon, then the service's worker; and the migration at any place.
survives_kills() {
  for victim in recalld worker; do
    kill_daemon
    must_migrate pool/dir/sub/chunks
    start_daemon --recall-rate 512K
    user cmp pool/dir/sub/chunks reference/dir/sub/chunks &
    reader=$!
    own "$reader"
    eventually "a recall under way" recall_under_way
    # A machine that stood still meanwhile may be too late to disturb it.
    if process_gone "$reader"; then
      say "hsm $kind: the recall was over before the kill of $victim"
    elif [ "$victim" = recalld ]; then
      kill_daemon
      start_daemon
      logged 'session .* assumed' || fail "the session assumed" "$(cat "$work/recalld.log")" "$work/recalld.log"
    else
      kill -9 "$(status_value worker_pid)"
    fi
    wait "$reader" || fail "right data after the kill of $victim" "status $?" "$work/recalld.log"
  done

  for n in 1 2 3 4 5 6 7 8; do
    hsm_migrate --store archive pool/dir >migrate.log 2>&1 &
    migrator=$!
    # Somewhere in its work: after it has looked at n files more, not after a time.
    dmctl status >/dev/null 2>&1
    kill -9 "$migrator" 2>/dev/null || true
    wait "$migrator" 2>/dev/null || true
    user cmp pool/dir/sub/chunks reference/dir/sub/chunks || fail "right data after the kill $n of hsm_migrate" "status $?" "$work/recalld.log"
    user cmp pool/dir/odd reference/dir/odd || fail "right data after the kill $n of hsm_migrate" "status $?" "$work/recalld.log"
  done
}

reconcile() { hsm_reconcile --store archive "$@" pool >reconcile.log 2>&1; }
fits() { reconcile && grep -qE ' 0 stale .* 0 missing, 0 busy' reconcile.log; }
told() { grep -qE "$1" reconcile.log || fail "$1" "$(cat reconcile.log)" reconcile.log; }

reconciles() {
  cp reference/dir/odd pool/lost
  cp reference/dir/odd pool/gone
  sync -f pool
  must_migrate pool/lost pool/gone pool/dir
  kept=$(objects)
  # "busy" for a moment, as above.
  wait_for $DEADLINE_S fits || fail "an archive that fits" "$(cat reconcile.log)" reconcile.log
  # Without the daemon nobody hears of a deletion.
  kill_daemon
  rm pool/gone
  reconcile || fail "a stale object is no failure" "$(cat reconcile.log)" reconcile.log
  told '^stale .*97.7 KiB$'
  expect "objects after a report" "$kept" "$(objects)"
  reconcile --delete || fail "the removal of a stale object" "$(cat reconcile.log)" reconcile.log
  told ' 1 removed .* 0 missing, 0 busy'
  expect "objects after the removal" $((kept - 1)) "$(objects)"
  # The object of a stub is gone; those of others are not touched for that.
  handle=$(stat -c %i pool/lost)
  object=$(find archive -name "*$(printf '%016x' "$handle" | fold -w2 | tac | tr -d '\n')")
  [ -f "$object" ] || fail "the object of pool/lost" "none" reconcile.log
  mv "$object" saved
  if reconcile --delete; then
    fail "a failure, as an object is missing" "$(cat reconcile.log)" reconcile.log
  fi
  told "^missing .*inode $handle,"
  expect "objects beside the missing one" $((kept - 2)) "$(objects)"
  mv saved "$object"
  reconcile || fail "an archive that fits again" "$(cat reconcile.log)" reconcile.log
  start_daemon
  user cmp pool/lost reference/dir/odd || fail "right data" "other data" "$work/recalld.log"
}

begin_work "hsm-$kind"
require_programs
kernel_can || skip "kernel $(uname -r) has no fanotify pre-content events"
command -v "mkfs.$kind" >/dev/null || skip "no mkfs.$kind"
make_file_system "$kind" "$work/pool" 512M
make_files
start_service
dmctl manage "$work/pool" >"$work/manage.log" 2>&1 || fail "a managed file system" "$(cat "$work/manage.log")" "$work/dmapid.log"
start_daemon
for step in whole_life skips_what_is_open notices_changes forgets_deleted_files reports_a_damaged_object survives_kills reconciles; do
  say "hsm $kind: $step"
  $step
done
say "hsm $kind: all good"
