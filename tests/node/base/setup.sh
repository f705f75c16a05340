# shellcheck shell=sh
# Runs once inside the new base system, as root.

useradd --create-home --uid 1000 --user-group --shell /bin/bash archy
printf 'archy:100000:65536\n' >/etc/subuid
printf 'archy:100000:65536\n' >/etc/subgid
mkdir -p /var/lib/systemd/linger /var/log/journal
touch /var/lib/systemd/linger/archy

ln -sf /usr/share/zoneinfo/UTC /etc/localtime
printf 'LANG=C.UTF-8\n' >/etc/locale.conf

systemctl --global enable podman.socket
systemctl disable podman.socket podman.service podman-auto-update.timer podman-restart.service \
  netavark-dhcp-proxy.service
systemctl mask console-getty.service container-getty@.service getty.target \
  systemd-firstboot.service systemd-modules-load.service systemd-udevd.service systemd-networkd.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
# What a machine without hardware never needs; each saves a process or more at every boot.
systemctl mask modprobe@.service dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
mkdir -p /etc/systemd/system-generators
for generator in debug getty gpt-auto hibernate-resume rc-local run ssh system-update sysv tpm2; do
  ln -s /dev/null "/etc/systemd/system-generators/systemd-$generator-generator"
done
# A server whose network is up: podman's user units wait for this target.
systemctl add-wants multi-user.target network-online.target

systemctl set-default multi-user.target
# The first boot has nothing left to update: no ldconfig, no journal catalog.
journalctl --update-catalog
/usr/lib/systemd/systemd-update-done

rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /var/log/*.log /var/log/apt \
  /usr/share/doc /usr/share/man /usr/share/locale /etc/machine-id /home/archy
