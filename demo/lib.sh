# shellcheck shell=bash
# What the demo scripts share: output, waiting, loop-mounted file systems, and a clean-up that also runs after ^C.
# Everything happens in one temporary directory; processes are ended by their pid only.

work=
owned_pids=()
owned_mounts=()
owned_loops=()

say() { printf '%s\n' "$*"; }
show() { printf '  $ %s\n' "$*"; }
own() { owned_pids+=("$1"); }

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
# 3400 -> 3.4
seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }
# 488636416 -> 466
mib() { echo $((($1 + 524288) / 1048576)); }

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local until_ms=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" 2>/dev/null; do
    [ "$(now_ms)" -lt "$until_ms" ] || return 1
    # Polling a condition, not guessing a time.
    sleep 0.02
  done
}

# fail EXPECTED GOT LOG
fail() {
  keep_work=1
  printf 'FAILED  expected: %s\n        got:      %s\n        log:      %s\n' "$1" "$2" "$3" >&2
  exit 1
}

# For tests: 77 is "skipped" to ctest, and a failure where nothing may be skipped (CI).
skip() {
  say "skipped: $1"
  [ "${DMAPI_NO_SKIP:-}" != 1 ] || exit 1
  exit 77
}

require_root() {
  [ "$(id -u)" -eq 0 ] || { say "$1: must run as root (mounts, fanotify)"; exit 1; }
}

# Does this kernel have fanotify pre-content events?
kernel_can() { printf '6.14\n%s\n' "$(uname -r)" | sort -V -C; }

# Is this root, and not only in a user namespace?
is_real_root() { [ "$(id -u)" -eq 0 ] && awk '{exit !($1 == 0 && $2 == 0 && $3 == 4294967295)}' /proc/self/uid_map; }

# May this process open /dev/fuse?
fuse_can() { (exec 3<>/dev/fuse) 2>/dev/null; }

begin_work() {
  require_root "$1"
  work=$(mktemp -d "${TMPDIR:-/tmp}/$1-XXXXXX")
  keep_work=
  trap end_work EXIT
  # Exit runs the trap above.
  trap 'exit 130' INT TERM HUP
}

# make_file_system KIND DIRECTORY SIZE [NO_MOUNT]: a loop file beside the directory, mounted on it.
make_file_system() {
  local kind=$1 directory=$2 size=$3 image=$2.img loop
  mkdir -p "$directory"
  # In a user namespace there are no loop mounts: a directory of the file system that is here.
  is_real_root || return 0
  truncate -s "$size" "$image"
  case $kind in
    xfs) mkfs.xfs -q "$image" ;;
    ext4) mkfs.ext4 -q -F "$image" ;;
    btrfs) mkfs.btrfs -q "$image" ;;
  esac
  loop=$(losetup --find --show "$image")
  owned_loops+=("$loop")
  mount "$loop" "$directory"
  owned_mounts+=("$directory")
}

end_work() {
  local status=$? i
  trap '' INT TERM HUP
  set +e
  if [ "$(type -t before_end)" = function ]; then
    before_end
  fi
  # Last started first: readers, then daemons.
  for ((i = ${#owned_pids[@]} - 1; i >= 0; i--)); do
    kill -9 "${owned_pids[i]}" 2>/dev/null
    wait "${owned_pids[i]}" 2>/dev/null
  done
  for ((i = ${#owned_mounts[@]} - 1; i >= 0; i--)); do
    wait_for 10 umount -i "${owned_mounts[i]}" || umount --lazy "${owned_mounts[i]}"
  done
  # The daemon leaves when nothing is mounted any more; it holds the loop devices until then.
  if [ "$(type -t stop_service)" = function ]; then
    stop_service
  fi
  for ((i = ${#owned_loops[@]} - 1; i >= 0; i--)); do
    losetup -d "${owned_loops[i]}"
  done
  if [ -n "$work" ] && [ -z "$keep_work" ] && [ -z "${DEMO_KEEP:-}" ]; then
    rm -rf "$work"
  fi
  exit "$status"
}
