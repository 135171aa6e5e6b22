#!/bin/bash
# dracut module (/usr/lib/dracut/modules.d/70cachefilesd-mini/): root=erofs-http: and netroot=, see
# cachefilesd-mini.cmdline(7).

# Only when it is asked for (add_dracutmodules), and its program is there.
check() {
	require_binaries cachefilesd-mini mke2fs || return 1
	return 255
}

depends() {
	echo network rootfs-block base
}

installkernel() {
	hostonly='' instmods cachefiles erofs overlay zram brd ext4
}

# shellcheck disable=SC2154 # moddir is dracut's
install() {
	inst_multiple cachefilesd-mini mke2fs findfs sed ip mount mkdir ln rm chmod sleep
	inst_multiple -o /etc/cachefilesd.conf /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt
	inst_simple "$moddir/cachefilesd-boot.sh" /lib/cachefilesd-boot.sh
	inst_hook cmdline 90 "$moddir/parse-cachefilesd-mini.sh"
	inst_hook initqueue/settled 50 "$moddir/cachefilesd-settled.sh"
	inst_script "$moddir/cachefilesd-root.sh" /sbin/erofs-httproot
	dracut_need_initqueue
}
