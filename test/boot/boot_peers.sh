# shellcheck shell=dash
# test/boot/boot_peers.py puts this in the place of cachefilesd-boot.sh, which it calls /ours.sh, in the initramfs of
# contrib/minimal-initramfs. peer=HOW on the kernel's command line selects how the root is mounted, from the host and
# the port of root=erofs-http:.

. /ours.sh

take_peer()
{
	case $1 in peer=*) peer=${1#*=} ;; esac
}

cfd_boot()
{
	# shellcheck disable=SC2154 # init's
	cfd_each_word "$line" take_peer
	host=${cfd_urls#http://}
	host=${host%%/*}
	port=${host#*:}
	host=${host%:*}
	image=$cfd_run/image
	mkdir -p "$image"
	case $peer in
	download)
		modprobe -q loop
		wget -q -O /run/download "$cfd_urls" && mount -t erofs -o ro,loop /run/download "$image"
		;;
	nbd)
		modprobe -q nbd
		nbd-client -N "" "$host" "$port" /dev/nbd0 && mount -t erofs -o ro /dev/nbd0 "$image"
		;;
	nfs)
		modprobe -q nfsv4
		nfs=vers=4.1,nocto,actimeo=3600,proto=tcp,port=$port,addr=$host,clientaddr=10.0.2.15
		mount -t nfs4 -o "ro,$nfs" "$host:/image" "$image"
		;;
	esac && cfd_mount_root "$1"
}
