#!/bin/sh
# dracut's initqueue/settled hook, again and again: systemd-networkd, unlike the other ways to the network,
# does not call netroot when that is up.

# shellcheck disable=SC2154 # netroot is dracut's
[ ! -d /run/systemd/netif ] || [ -z "$(ip -o address show up scope global)" ] ||
	/sbin/erofs-httproot networkd "$netroot" "$NEWROOT"
