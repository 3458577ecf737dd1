#!/usr/bin/env bash
# Purpose: what `make install` copies is whole: a program finds headers and library by pkg-config alone, runs against
# the installed daemon, and each header compiles alone.
#   installed.sh BIN HSM: the directories that cargo and CMake built into
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d /tmp/dmapi-installed-XXXXXX)
supervisor=
end() {
  if [ -n "$supervisor" ]; then
    kill -TERM "$supervisor" 2>/dev/null || true
    for _ in $(seq 400); do
      kill -0 "$supervisor" 2>/dev/null || break
      sleep 0.05
    done
    # A group of its own, so that supervisor and worker go together.
    kill -KILL -- "-$supervisor" 2>/dev/null || true
    wait "$supervisor" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap end EXIT
fail() { echo "installed.sh: $*" >&2; exit 1; }

PREFIX=$work/prefix BIN=$1 HSM=$2 "$root/cmake/install.sh"
prefix=$work/prefix

[ "$(readlink -f "$prefix/lib/libdmapi.so")" = "$prefix/lib/libdmapi.so.1.0.0" ] || fail "libdmapi.so names something else"
[ -e "$prefix/lib/libdmapi.so.1" ] || fail "libdmapi.so.1 is missing"
for name in libdm.so libxdsm.so libjfsdm.so; do
  [ -e "$prefix/lib/$name" ] || fail "$name is missing"
done
[ -x "$prefix/libexec/dmapi/hsm-recalld" ] || fail "hsm-recalld is missing"
[ -e "$prefix/share/man/man3/dm_get_events.3" ] || fail "the manual is missing"
"$prefix/sbin/dmctl" --version >/dev/null || fail "dmctl does not run"

DESTDIR=$work/package PREFIX=/usr COMPAT=no BIN=$1 HSM=$2 "$root/cmake/install.sh"
[ -e "$work/package/usr/include/dmapi.h" ] || fail "DESTDIR is not used"
[ ! -e "$work/package/usr/lib/libdm.so" ] || fail "COMPAT=no is not used"
grep -qx 'prefix=/usr' "$work/package/usr/lib/pkgconfig/dmapi.pc" || fail "DESTDIR is in dmapi.pc"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
for header in dmapi.h sys/dmapi.h xfs/dmapi.h sys/dmi.h sys/dmi_kern.h sys/jfsdmapi.h sys/dmapi/dmapi.h; do
  echo "#include <$header>" >"$work/one.c"
  # shellcheck disable=SC2046
  cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only $(pkg-config --cflags dmapi) "$work/one.c"
done
# Sources that name plain <dmapi.h> and give the directory of another name's.
echo '#include <dmapi.h>' >"$work/one.c"
cc -Werror -fsyntax-only "-I$prefix/include/xfs" "$work/one.c" || fail "-I include/xfs does not find the header"

# shellcheck disable=SC2046
cc -std=gnu11 -Wall -Wextra -Werror -o "$work/program" "$root/c-tests/installed.c" $(pkg-config --cflags --libs dmapi)
readelf -d "$work/program" | grep -q 'NEEDED.*libdmapi\.so\.1\]' || fail "the program does not need libdmapi.so.1"
# Linked by an old name it needs the same library.
cc -o "$work/old" "$root/c-tests/installed.c" "-I$prefix/include" "-L$prefix/lib" -ldm
readelf -d "$work/old" | grep -q 'NEEDED.*libdmapi\.so\.1\]' || fail "-ldm gives another library"

export DMAPI_SOCKET=$work/socket DMAPI_STATE=$work/state LD_LIBRARY_PATH=$prefix/lib
setsid "$prefix/sbin/dmapid" --foreground >"$work/log" 2>&1 &
supervisor=$!
"$work/program" || { cat "$work/log" >&2; fail "a program does not work with the installed daemon"; }
echo "installed: good"
