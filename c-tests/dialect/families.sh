#!/usr/bin/env bash
# Purpose: sources of both families compile against what was installed, without a change, and migrate and recall files.
#   families.sh BIN HSM KIND: the directories that cargo and CMake built into, the kind of file system
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
bin=$1 hsm=$2 kind=$3
if [ "$(id -u)" != 0 ]; then
  echo "skipped: loop mounts and fanotify need root"
  [ "${DMAPI_NO_SKIP:-}" = 1 ] && exit 1
  exit 77
fi
work=$(mktemp -d /tmp/dmapi-families-XXXXXX)
mnt=$work/mnt
supervisor='' recaller=''
end() {
  if [ -n "$recaller" ]; then kill -KILL "$recaller" 2>/dev/null || true; fi
  for _ in $(seq 200); do
    mountpoint -q "$mnt" || break
    umount "$mnt" 2>/dev/null || sleep 0.05
  done
  if [ -n "$supervisor" ]; then
    kill -TERM "$supervisor" 2>/dev/null || true
    for _ in $(seq 200); do
      kill -0 "$supervisor" 2>/dev/null || break
      sleep 0.05
    done
    # A group of its own, so that supervisor and worker go together.
    kill -KILL -- "-$supervisor" 2>/dev/null || true
    wait "$supervisor" 2>/dev/null || true
  fi
  if mountpoint -q "$mnt"; then umount -l "$mnt" || true; fi
  rm -rf "$work"
}
trap end EXIT
fail() {
  echo "families.sh: $*" >&2
  tail -n 40 "$work/log" >&2 || true
  exit 1
}

PREFIX=$work/prefix BIN=$bin HSM=$hsm "$root/cmake/install.sh" >/dev/null
prefix=$work/prefix
export LD_LIBRARY_PATH=$prefix/lib DMAPI_SOCKET=$work/socket DMAPI_STATE=$work/state
unset DMAPI_AUTOSTART

mkdir "$work/sgi" "$work/ibm"
for program in list migrate recall; do
  cc -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE -Wall -Werror -Wno-unused-function -o "$work/sgi/$program" \
    "$here/sgi/$program.c" "-I$prefix/include" "-L$prefix/lib" -ldm
  cc -D_GNU_SOURCE -Wall -Werror -Wno-unused -o "$work/ibm/$program" \
    "$here/ibm/$program.c" "-I$prefix/include" "-L$prefix/lib" -ldmapi
done

mkdir "$mnt" "$work/store"
truncate -s 320M "$work/image"
case $kind in
ext4) mkfs.ext4 -qF "$work/image" ;;
*) "mkfs.$kind" -q "$work/image" >/dev/null ;;
esac
mount -o loop "$work/image" "$mnt"
setsid "$prefix/sbin/dmapid" --foreground >"$work/log" 2>&1 &
supervisor=$!
managed=no
deadline=$((SECONDS + 60))
while [ $SECONDS -lt $deadline ]; do
  # Until the daemon is there it says so.
  if "$prefix/sbin/dmctl" manage "$mnt" 2>>"$work/log"; then managed=yes; break; fi
  sleep 0.1
done
[ $managed = yes ] || fail "the file system could not be managed"

# family NAME DIALECT DIRECTORY-OR-FS-TO-LIST WORD-FOR-MIGRATED
family() {
  local name=$1 listed=$3 word=$4 files=3
  export DMAPI_DIALECT=$2
  mkdir "$mnt/$name"
  for number in $(seq $files); do
    head -c $((number * 100000 + 17)) /dev/urandom >"$work/$name.$number"
    cp "$work/$name.$number" "$mnt/$name/file$number"
    "$work/$name/migrate" "$work/store" "$mnt/$name/file$number" || fail "$name: migrate"
  done
  [ "$("$work/$name/list" "$listed" | grep -c " $word")" = $files ] || fail "$name: the list does not show $files files"
  timeout 100 "$work/$name/recall" "$work/store" "$mnt" $files &
  recaller=$!
  timeout 60 cmp "$work/$name.1" "$mnt/$name/file1" || fail "$name: file1 was read wrongly"
  printf 'changed' | timeout 60 dd of="$mnt/$name/file2" bs=7 seek=1 conv=notrunc status=none || fail "$name: write"
  printf 'changed' | dd of="$work/$name.2" bs=7 seek=1 conv=notrunc status=none
  timeout 60 truncate -s 12345 "$mnt/$name/file3" || fail "$name: truncate"
  truncate -s 12345 "$work/$name.3"
  wait "$recaller" || fail "$name: recall failed"
  recaller=''
  for number in $(seq $files); do
    timeout 60 cmp "$work/$name.$number" "$mnt/$name/file$number" || fail "$name: file$number is not what it was"
  done
  if "$work/$name/list" "$listed" | grep -q " $word"; then fail "$name: still migrated"; fi
}

family sgi sgi "$mnt/sgi" offline
family ibm gpfs "$mnt" migrated
echo "families on $kind: good"
