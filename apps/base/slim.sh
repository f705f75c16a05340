# shellcheck shell=sh
# Runs once inside the new base system: removes what debootstrap unpacked before dpkg obeyed slim.conf,
# and everything that differs from one build to the next.
find /usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete
rm -rf /usr/share/info /usr/share/lintian /usr/share/locale /usr/share/man /usr/share/bash-completion \
  /var/cache/apt/* /var/lib/apt/lists/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/cache/ldconfig
find /var/log -type f -delete
rm -f /etc/machine-id /etc/resolv.conf /etc/hostname
