#!/bin/sh
# dracut's cmdline hook: a root of ours, or none. netroot.sh calls /sbin/erofs-httproot when the
# network is up.

. /lib/cachefilesd-boot.sh

cfd_say() { warn "cachefilesd-mini: $*"; }
read -r cfd_line </proc/cmdline
# shellcheck disable=SC2154 # cfd_type is cachefilesd-boot.sh's
if cfd_parse "$cfd_line"; then
	# Whatever the file system is; cachefilesd-root.sh reads the word itself.
	# shellcheck disable=SC2034 # dracut's
	netroot=erofs-http:$cfd_urls root=erofs-http rootok=1
	[ -n "$(getarg ip=)" ] || {
		echo ip=dhcp >/etc/cmdline.d/70-cachefilesd-mini.conf
		# The same for systemd-networkd, which reads the kernel's own words only.
		mkdir -p /run/systemd/network
		{
			printf '[Match]\nType=ether\n[Network]\nDHCP=yes\n'
			printf '[%s]\nUseDomains=yes\n' DHCPv4 DHCPv6 IPv6AcceptRA
		} >/run/systemd/network/70-cachefilesd-mini.network
	}
	# Two days, as the daemon itself has no end: a switch may be late.
	echo rd.neednet=1 rd.retry=172800 >>/etc/cmdline.d/70-cachefilesd-mini.conf
	wait_for_dev -n /dev/root
elif [ -n "$cfd_urls" ]; then
	die "cachefilesd-mini: root=$cfd_type-http: has the mistake told above"
fi
