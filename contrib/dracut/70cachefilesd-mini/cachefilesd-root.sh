#!/bin/sh
# erofs-httproot INTERFACE NETROOT NEWROOT: called by dracut's netroot when the network is up.

. /lib/dracut-lib.sh
. /lib/cachefilesd-boot.sh

[ $# -ge 3 ] && [ -n "$3" ] || exit 1
ismounted "$3" && exit 0
# systemd-networkd keeps the name servers that it has learnt to itself.
if [ -r /run/systemd/netif/state ]; then
	cfd_resolve "$(sed -n 's/^DNS=//p' /run/systemd/netif/state)" \
		"$(sed -n 's/^DOMAINS=//p' /run/systemd/netif/state)"
fi
read -r cfd_line </proc/cmdline
cfd_parse "$cfd_line" || exit 1
cfd_boot "$3" || exit 1
# What waits for a root device need not.
: >/dev/root 2>/dev/null || ln -sf null /dev/root
exit 0
