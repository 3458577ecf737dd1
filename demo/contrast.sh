#!/usr/bin/env bash
# What a stock fanotify handler does when it is killed: the reader of a freed file gets zeros. See `make demo` for the
# same kill with libdmapi. Needs root; works on a loop file in a temporary directory.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=demo/lib.sh
. "$here/lib.sh"

begin_work demo-contrast
say "demo-contrast: kernel $(uname -r), a stock fanotify responder ($(grep -c . "$here/contrast.c") lines, demo/contrast.c), work in $work"
cc -std=c11 -D_GNU_SOURCE -O2 -o "$work/responder" "$here/contrast.c"
make_file_system xfs "$work/pool" 512M

head -c 65536 /dev/urandom >"$work/archived"
cp "$work/archived" "$work/pool/file"
sync -f "$work/pool"
show "fallocate --punch-hole --offset 0 --length 64K pool/file"
fallocate --punch-hole --offset 0 --length 65536 "$work/pool/file"

"$work/responder" "$work/pool" >"$work/responder.log" 2>&1 &
responder=$!
own "$responder"
if ! wait_for 20 grep -qE 'ready|unavailable' "$work/responder.log" || grep -q unavailable "$work/responder.log"; then
  say "skipped: this kernel has no fanotify pre-content events (Linux 6.14 or newer is needed): $(cat "$work/responder.log")"
  exit 0
fi
show "responder pool &"
cat "$work/pool/file" >"$work/got" &
reader=$!
own "$reader"
wait_for 20 grep -q event: "$work/responder.log" || fail "an event" "$(cat "$work/responder.log")" "$work/responder.log"
show "cat pool/file &                    ($(grep event: "$work/responder.log"))"
show "kill -9 $responder                          (the responder, in the middle of it)"
kill -9 "$responder"
wait "$reader" || true
zeros=$(($(stat -c %s "$work/got") - $(tr -d '\0' <"$work/got" | wc -c)))
say "reader got $zeros zero bytes of $(stat -c %s "$work/got"), and no error"
[ "$zeros" -gt 0 ] || fail "zeros" "data" "$work/responder.log"
