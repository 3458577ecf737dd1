#!/usr/bin/env bash
# What libdmapi does, on real files: `make demo`. As root everything happens on loop-mounted file systems in a temporary
# directory; as an ordinary user on a directory of it, in a namespace of its own. Accesses are seen by fanotify (root, Linux 6.14),
# else through a FUSE mount; DEMO_SOURCE=fuse: always so. Each line with $ is a command that is really run, each figure is measured, "ok"
# appears after its check only. DEMO_DIR=directory: copies of its files instead of files of /usr.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=demo/lib.sh
. "$here/lib.sh"
# shellcheck source=demo/service.sh
. "$here/service.sh"

ACTS=4
ACT_SECONDS_MAX=20
FILES=600
READERS=16
BIG_BYTES=$((64 << 20))
RATE=24M

act() {
  printf '[%d/%d] %s\n' "$1" "$ACTS" "$2"
}

# waited SECONDS COMMAND WHAT LOG: the limit of an act, with its message.
until_or_fail() {
  local what=$1 log=$2
  shift 2
  wait_for "$ACT_SECONDS_MAX" "$@" || fail "$what within $ACT_SECONDS_MAX s" "nothing" "$log"
}

local_bytes() { echo $(($(stat -c %b "$1") * 512)); }
more_is_here() { [ "$(local_bytes "$1")" -gt "$2" ]; }
facts() { (cd "$work/pool" && find . -type f -printf '%P %s %m %U:%G %T@\n' | sort); }
used_bytes() { (cd "$work/pool" && find . -type f -printf '%b\n' | awk '{n += $1} END {print n * 512}'); }
worker_is_new() { local pid; pid=$(status_value worker_pid) && [ -n "$pid" ] && [ "$pid" != "$1" ]; }
all_done() { local pid; for pid in "$@"; do process_gone "$pid" || return 1; done; }
blocked() { [ "$(status_value events_blocked)" -ge "$1" ]; }

prepare_data() {
  local from=${DEMO_DIR:-/usr} n=0 file preserve=-p
  # In a user namespace most owners cannot be given.
  is_real_root || preserve=--preserve=mode,timestamps
  while IFS= read -r -d '' file; do
    cp $preserve "$file" "$work/pool/$(printf '%03d' $n)-$(basename "$file")"
    n=$((n + 1))
  done < <(find "$from" -xdev -type f -readable -size +16k -size -3000k -print0 2>/dev/null | sort -z |
    awk -v RS='\0' -v ORS='\0' -v want=$FILES '{line[NR] = $0}
      END {step = NR / want; if (step < 1) step = 1; for (i = 1; i <= NR && n < want; i += step) {print line[int(i)]; n++}}')
  head -c $BIG_BYTES /dev/urandom >"$work/pool/big.bin"
  touch -d '2001-02-03 04:05:06.789' "$work/pool/big.bin"
  files=$((n + 1))
  facts >"$work/facts"
  (cd "$work/pool" && sha256sum -- * >"$work/sums")
  sync -f "$work/pool"
}

source=fuse
if is_real_root && kernel_can; then
  source=${DEMO_SOURCE:-fanotify}
fi
if [ "$source" = fuse ] && ! fuse_can; then
  say "demo: kernel $(uname -r), user $(id -un): fanotify pre-content events need root and Linux 6.14, and /dev/fuse cannot be"
  say "demo: opened (modprobe fuse; its mode is usually 0666): nothing to show here."
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  # The same script as root of a namespace, in which this user may mount.
  exec unshare -Urm --kill-child "$0" "$@"
fi
begin_work demo
require_programs
say "demo: kernel $(uname -r), source $source, 1 node on this machine, work in $work, nothing else is touched"
started_ms=$(now_ms)
make_file_system xfs "$work/pool" 2G
prepare_data
start_service
cd "$work"
if [ "$source" = fuse ]; then
  manage="dmctl mount --source fuse pool pool"
  owned_mounts+=("$work/pool")
else
  manage="dmctl manage pool"
fi
$manage >"$work/manage.log" 2>&1 || fail "a managed file system" "$(cat "$work/manage.log")" "$work/dmapid.log"
start_recalld "$work/recalld.log" --store "$work/archive" --recall-rate $RATE "$work/pool"
until_or_fail "a serving recall daemon" "$work/recalld.log" grep -q 'serving' "$work/recalld.log"

act 1 "Migrate real files"
before=$(used_bytes)
show "$manage && hsm_recalld --store archive --recall-rate $RATE pool &"
show "hsm_migrate --store archive pool"
hsm_migrate --store "$work/archive" pool >"$work/migrate.log" 2>&1 ||
  fail "all files migrated" "$(tail -3 "$work/migrate.log")" "$work/migrate.log"
sed 's/^/    /' "$work/migrate.log"
grep -q "^$files/$files files migrated" "$work/migrate.log" ||
  fail "$files/$files files migrated" "$(tail -1 "$work/migrate.log")" "$work/migrate.log"
show "hsm_ls pool/big.bin"
hsm_ls pool/big.bin | sed 's/^/    /'
facts >"$work/facts-after"
cmp -s "$work/facts" "$work/facts-after" ||
  fail "names, sizes, modes, owners, mtimes as before" "$(diff "$work/facts" "$work/facts-after" | head -3)" "$work/migrate.log"
say "ok 1  $(mib "$before") MiB -> $(mib "$(used_bytes)") MiB on disk; name, size, mode, owner, mtime of $files files unchanged"

act 2 "A user reads a stub"
victim=$(awk 'NR == 300 {print substr($0, 67)}' "$work/sums")
expected=$(awk 'NR == 300 {print $1}' "$work/sums")
recalls_before=$(grep -c 'READ token' "$work/recalld.log" || true)
show "sha256sum pool/$victim"
read_ms=$(now_ms)
got=$(timeout $ACT_SECONDS_MAX sha256sum "pool/$victim" | cut -d' ' -f1) || true
read_ms=$(($(now_ms) - read_ms))
[ "$got" = "$expected" ] || fail "$expected" "$got" "$work/recalld.log"
one_more() { [ "$(grep -c 'READ token' "$work/recalld.log")" -eq $((recalls_before + 1)) ]; }
until_or_fail "one recall in the log" "$work/recalld.log" one_more
say "ok 2  right data after $read_ms ms; 1 recall"

act 3 "kill -9 of the recall daemon in mid recall"
show "sha256sum pool/big.bin &"
read_ms=$(now_ms)
sha256sum pool/big.bin >"$work/big.sum" 2>"$work/big.err" &
reader=$!
own "$reader"
until_or_fail "a recall under way" "$work/recalld.log" more_is_here pool/big.bin $((BIG_BYTES / 4))
say "    recall $(mib "$(local_bytes pool/big.bin)") of 64 MiB ..."
show "kill -9 $recalld_pid"
kill -9 "$recalld_pid"
wait "$recalld_pid" 2>/dev/null || true
show "dmctl explain $reader"
dmctl explain "$reader" | sed 's/^/    /'
show "hsm_recalld --store archive --recall-rate $RATE pool &"
start_recalld "$work/recalld-2.log" --store "$work/archive" --recall-rate $RATE "$work/pool"
until_or_fail "the session assumed" "$work/recalld-2.log" grep -q assumed "$work/recalld-2.log"
sed -n 's/^[0-9:]* \(session .* assumed.*\)/    \1/p' "$work/recalld-2.log"
until_or_fail "the reader's end" "$work/recalld-2.log" process_gone "$reader"
read_ms=$(($(now_ms) - read_ms))
wait "$reader" || fail "no error" "$(cat "$work/big.err")" "$work/recalld-2.log"
got=$(cut -d' ' -f1 "$work/big.sum")
expected=$(awk '$2 == "big.bin" {print $1}' "$work/sums")
[ "$got" = "$expected" ] || fail "$expected" "$got" "$work/recalld-2.log"
until_or_fail "the answer in the log" "$work/recalld-2.log" grep -q 'READ token' "$work/recalld-2.log"
answers=$(grep -ch 'READ token.*answered' "$work/recalld-2.log")
[ "$answers" -eq 1 ] || fail "1 answer" "$answers" "$work/recalld-2.log"
say "ok 3  right data; the user waited $(seconds $read_ms) s, saw no error; $(grep -oh 'token [0-9]*' "$work/recalld-2.log" | tail -1) answered once"

act 4 "kill -9 of dmapid's worker, $READERS readers waiting"
# A recall daemon that does not run makes all of them wait.
kill -STOP "$recalld_pid"
mapfile -t victims < <(awk -v n=$READERS 'NR > 400 && NR <= 400 + n {print substr($0, 67)}' "$work/sums")
readers=()
for victim in "${victims[@]}"; do
  sha256sum "pool/$victim" >>"$work/readers.sums" 2>>"$work/readers.err" &
  readers+=("$!")
  own "$!"
done
show "sha256sum pool/$victim &   ... $READERS of them"
until_or_fail "$READERS blocked readers" "$work/dmapid.log" blocked $READERS
worker=$(status_value worker_pid)
show "kill -9 $worker"
kill_ms=$(now_ms)
kill -9 "$worker"
until_or_fail "a new worker" "$work/dmapid.log" worker_is_new "$worker"
kill_ms=$(($(now_ms) - kill_ms))
still=$(status_value events_blocked)
[ "$still" -eq $READERS ] || fail "$READERS readers still held" "$still" "$work/dmapid.log"
kill -CONT "$recalld_pid"
until_or_fail "all readers' end" "$work/recalld-2.log" all_done "${readers[@]}"
errors=0
for reader in "${readers[@]}"; do
  wait "$reader" || errors=$((errors + 1))
done
sed 's,  pool/,  ,' "$work/readers.sums" | sort >"$work/readers.got"
right=$(sort "$work/sums" | comm -12 - "$work/readers.got" | wc -l)
if [ "$right" -ne $READERS ] || [ "$errors" -ne 0 ]; then
  fail "$READERS of $READERS right, 0 errors" "$right right, $errors errors; $(head -3 "$work/readers.err")" "$work/dmapid.log"
fi
say "ok 4  the next worker served $kill_ms ms after the kill (two calls of dmctl included); $right of $READERS right, 0 zeros, $errors errors"

show "hsm_recall --store archive pool"
timeout 60 hsm_recall --store "$work/archive" pool >"$work/recall.log" 2>&1 || fail "all files recalled" "$(tail -3 "$work/recall.log")" "$work/recall.log"
sed 's/^/    /' "$work/recall.log"
show "sha256sum --check sums"
(cd pool && timeout 60 sha256sum --check --quiet "$work/sums") >"$work/check.log" 2>&1 || fail "$files right files" "$(head -3 "$work/check.log")" "$work/check.log"
say "demo: $files of $files files right by SHA-256; 0 zero blocks read; 0 errors seen by users"
say "demo: $ACTS of $ACTS ok in $(seconds $(($(now_ms) - started_ms))) s.  What stock fanotify does: make demo-contrast"
