# shellcheck shell=sh
# Installs an empty package for what WordPress's package asks for and this image has in smaller form:
# apache2-bin serves without the apache2 package and its Perl, PHP talks to the database without a client.
work=$(mktemp -d)
mkdir "$work/DEBIAN"
cat >"$work/DEBIAN/control" <<'CONTROL'
Package: stand-ins
Version: 1
Architecture: all
Maintainer: archy
Provides: httpd, virtual-mysql-client
Description: stands in for the apache2 package and a MySQL client
CONTROL
dpkg-deb --build "$work" "$work.deb" >/dev/null
dpkg --install "$work.deb"
rm -r "$work" "$work.deb"
