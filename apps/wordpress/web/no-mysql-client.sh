# shellcheck shell=sh
# Installs an empty package that provides virtual-mysql-client.
work=$(mktemp -d)
mkdir "$work/DEBIAN"
cat >"$work/DEBIAN/control" <<'CONTROL'
Package: no-mysql-client
Version: 1
Architecture: all
Maintainer: archy
Provides: virtual-mysql-client
Description: stands in for a MySQL client that WordPress does not call
CONTROL
dpkg-deb --build "$work" "$work.deb" >/dev/null
dpkg --install "$work.deb"
rm -r "$work" "$work.deb"
