#!/usr/bin/env bash
# Copies what was built to where it is used; `make install` runs it.
#   PREFIX    where it will be used (/usr/local); LIBDIR, INCLUDEDIR, SBINDIR, LIBEXECDIR, MANDIR, UNITDIR below it
#   DESTDIR   a directory before all that, for packages
#   BIN, HSM  what cargo and CMake built (target/release, build/release/examples-c/hsm)
#   COMPAT    no: without libdm.so, libxdsm.so and libjfsdm.so, the names that older makefiles link with
set -euo pipefail
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-/usr/local}
LIBDIR=${LIBDIR:-$PREFIX/lib}
INCLUDEDIR=${INCLUDEDIR:-$PREFIX/include}
SBINDIR=${SBINDIR:-$PREFIX/sbin}
LIBEXECDIR=${LIBEXECDIR:-$PREFIX/libexec}
MANDIR=${MANDIR:-$PREFIX/share/man}
UNITDIR=${UNITDIR:-$PREFIX/lib/systemd/system}
DESTDIR=${DESTDIR:-}
BIN=${BIN:-target/release}
HSM=${HSM:-build/release/examples-c/hsm}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

for built in libdmapi.so dmapid dmctl; do
  [ -e "$BIN/$built" ] || { echo "install: $BIN/$built is missing; run make build first" >&2; exit 1; }
done

install -d "$DESTDIR$LIBDIR/pkgconfig" "$DESTDIR$SBINDIR"
install -m 755 "$BIN/libdmapi.so" "$DESTDIR$LIBDIR/libdmapi.so.$VERSION"
ln -sf "libdmapi.so.$VERSION" "$DESTDIR$LIBDIR/libdmapi.so.${VERSION%%.*}"
ln -sf "libdmapi.so.${VERSION%%.*}" "$DESTDIR$LIBDIR/libdmapi.so"
if [ "${COMPAT:-yes}" != no ]; then
  for name in dm xdsm jfsdm; do
    ln -sf libdmapi.so "$DESTDIR$LIBDIR/lib$name.so"
  done
fi
sed -e "s|@PREFIX@|$PREFIX|" -e "s|@LIBDIR@|$LIBDIR|" -e "s|@INCLUDEDIR@|$INCLUDEDIR|" -e "s|@VERSION@|$VERSION|" \
  cmake/dmapi.pc.in >"$DESTDIR$LIBDIR/pkgconfig/dmapi.pc"
chmod 644 "$DESTDIR$LIBDIR/pkgconfig/dmapi.pc"

(cd include && find . -name '*.h' -print0) | while IFS= read -r -d '' header; do
  install -D -m 644 "include/$header" "$DESTDIR$INCLUDEDIR/$header"
done

install -m 755 "$BIN/dmapid" "$BIN/dmctl" "$DESTDIR$SBINDIR"
# mount -t dmapi and umount find these.
ln -sf dmctl "$DESTDIR$SBINDIR/mount.dmapi"
ln -sf dmctl "$DESTDIR$SBINDIR/umount.dmapi"

install -d "$DESTDIR$UNITDIR"
sed -e "s|@SBINDIR@|$SBINDIR|" systemd/dmapid.service.in >"$DESTDIR$UNITDIR/dmapid.service"
chmod 644 "$DESTDIR$UNITDIR/dmapid.service"

for program in "$HSM"/hsm_*; do
  [ -f "$program" ] && [ -x "$program" ] || continue
  name=$(basename "$program")
  install -D -m 755 "$program" "$DESTDIR$LIBEXECDIR/dmapi/${name//_/-}"
done

for page in man/*.[1-9] man/man[1-9]/*; do
  [ -f "$page" ] || continue
  install -D -m 644 "$page" "$DESTDIR$MANDIR/man${page##*.}/$(basename "$page")"
done
