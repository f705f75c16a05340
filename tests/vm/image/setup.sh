# shellcheck shell=sh
# Runs once inside a copy of the node's base system, as root: makes it a machine with a kernel of its own. The kernel and
# what the kernel needs to find its disk lie in /boot afterwards.

# The limit of a container's processes is the machine's own, as on any Debian.
rm /etc/containers/containers.conf.d/node.conf

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends kmod openssh-server
# Only unpacked: installed, it would bring a generator of initial disks, which is made below in a moment.
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
cd /var/tmp
apt-get download -q "$package"
dpkg --extract "$package"_*.deb /
rm "$package"_*.deb
release=$(ls /usr/lib/modules)
depmod "$release"
mv "/boot/vmlinuz-$release" /boot/vmlinuz

# What no driver of the kernel asks for by itself; the network's addresses are set before systemd starts.
printf 'tun\nfuse\noverlay\nbridge\nveth\nnf_tables\n' >/etc/modules-load.d/vm.conf
printf 'z /dev/net/tun 0666\nz /dev/fuse 0666\n' >/etc/tmpfiles.d/vm.conf
systemctl unmask systemd-modules-load.service
systemctl disable ssh.socket 2>/dev/null || true
systemctl enable ssh.service
printf 'UseDNS no\nPrintMotd no\nPasswordAuthentication no\n' >/etc/ssh/sshd_config.d/vm.conf
for home in /root /home/archy; do
  mkdir -p "$home/.ssh"
  mv "/key.$(basename "$home")" "$home/.ssh/authorized_keys"
  chmod 0700 "$home" "$home/.ssh"
done
chown -R archy:archy /home/archy
printf 'vm\n' >/etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 vm\n' >/etc/hosts
: >/etc/resolv.conf
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /var/log/*.log /var/log/apt

# The initial disk: busybox and the drivers of the disk, its file system and the network, each after what it needs.
disk=$(mktemp -d)
mkdir -p "$disk/bin" "$disk/modules" "$disk/dev" "$disk/proc" "$disk/sys" "$disk/root"
cp /usr/bin/busybox "$disk/bin/busybox"
cp /init "$disk/init"
chmod 0755 "$disk/init"
rm /init
for module in virtio_pci virtio_blk virtio_rng virtio_net ext4 crc32c_generic; do
  modprobe --set-version "$release" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r file; do
  name=$(basename "$file" .xz)
  busybox xzcat "$file" >"$disk/modules/$name"
  echo "$name" >>"$disk/modules/order"
done
(cd "$disk" && find . | busybox cpio -o -H newc) >/boot/initrd
rm -rf "$disk"
systemd-analyze --version >/dev/null
/usr/lib/systemd/systemd-update-done
