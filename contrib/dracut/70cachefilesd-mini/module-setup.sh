#!/bin/bash
# dracut module (/usr/lib/dracut/modules.d/70cachefilesd-mini/): root=erofs-http:, its like and netroot=,
# see cachefilesd-mini.cmdline(7).

# Only when it is asked for (add_dracutmodules), and its program is there.
check() {
	require_binaries /usr/sbin/cachefilesd-mini || return 1
	return 255
}

depends() {
	echo network rootfs-block base
}

installkernel() {
	# Those that the kernel has.
	hostonly='' instmods nbd cachefiles erofs squashfs ext4 overlay zram brd dm-verity
}

# shellcheck disable=SC2154 # moddir is dracut's
install() {
	local word file
	# It may lie in /usr/local, where the initramfs looks for no program.
	inst_simple /usr/sbin/cachefilesd-mini /sbin/cachefilesd-mini
	inst_multiple findfs sed ip mount umount mkdir ln rm chmod sleep
	# mke2fs for a cache in memory under cachefiles; NBD needs none.
	inst_multiple -o mke2fs veritysetup /etc/cachefilesd.conf /etc/ssl/certs/ca-certificates.crt \
		/etc/pki/tls/certs/ca-bundle.crt
	# Nobody but root can read dracut's archive.
	[ ! -r /etc/cachefilesd.conf ] || while read -r word file; do
		case $word in ca | cert | key | netrc | verity-key) [ ! -r "$file" ] || inst_simple "$file" ;; esac
	done < <(tr -d '\r' </etc/cachefilesd.conf)
	inst_simple "$moddir/cachefilesd-boot.sh" /lib/cachefilesd-boot.sh
	inst_hook cmdline 90 "$moddir/parse-cachefilesd-mini.sh"
	inst_hook initqueue/settled 50 "$moddir/cachefilesd-settled.sh"
	inst_script "$moddir/cachefilesd-root.sh" /sbin/erofs-httproot
	dracut_need_initqueue
}
