# shellcheck shell=bash
# A private DMAPI service for demo, storm and benchmarks: own socket, own state, everything below $work.
# Source lib.sh first. DMAPI_BIN has dmapid and dmctl, HSM_BIN the programs of the HSM.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${DMAPI_BIN:=$root/target/release}"
: "${HSM_BIN:=$root/build/release/examples-c/hsm}"
PATH=$HSM_BIN:$DMAPI_BIN:$PATH
supervisor_pid=

require_programs() {
  local program
  for program in dmapid dmctl hsm_migrate hsm_recalld hsm_recall hsm_ls; do
    command -v "$program" >/dev/null || { say "$program is not built; run make build"; exit 1; }
  done
}

# status_value NAME: a number of `dmctl status --json`.
status_value() {
  dmctl status --json 2>/dev/null | grep -o "\"$1\": *[0-9]*" | grep -o '[0-9]*$' | head -1
}

service_answers() { [ -S "$DMAPI_SOCKET" ] && dmctl status >/dev/null 2>&1; }

start_service() {
  export DMAPI_SOCKET=$work/run/socket DMAPI_STATE=$work/state
  mkdir -p "$work/run" "$work/state"
  dmapid --foreground >"$work/dmapid.log" 2>&1 &
  supervisor_pid=$!
  wait_for 60 service_answers || fail "a running dmapid" "$(tail -3 "$work/dmapid.log")" "$work/dmapid.log"
}

# The end of the service: users first, then mounts, then the daemon, which leaves when nothing is mounted.
stop_service() {
  local worker_pid
  [ -n "$supervisor_pid" ] || return 0
  worker_pid=$(status_value worker_pid)
  # It refuses while file systems are managed, and learns of an unmount a moment later: asked again and again.
  if ! wait_for 10 left_when_asked "$supervisor_pid"; then
    # Stopped first: a supervisor that sees its worker die starts another, and the other way round.
    kill -STOP "$supervisor_pid" 2>/dev/null
    [ -z "$worker_pid" ] || kill -9 "$worker_pid" 2>/dev/null
    kill -9 "$supervisor_pid" 2>/dev/null
  fi
  wait "$supervisor_pid" 2>/dev/null
  supervisor_pid=
}

left_when_asked() {
  process_gone "$1" && return 0
  kill -TERM "$1" 2>/dev/null
  sleep 0.1
  process_gone "$1"
}
process_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# start_recalld LOG OPTION...: sets recalld_pid.
start_recalld() {
  local log=$1
  shift
  hsm_recalld "$@" >>"$log" 2>&1 &
  recalld_pid=$!
  own "$recalld_pid"
}
