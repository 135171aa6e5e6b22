# shellcheck shell=sh
# cachefilesd-boot.sh - a root file system on a web server, for any initramfs: reads the words of
# cachefilesd-mini.cmdline(7), makes or mounts the cache, starts the daemon, mounts the image and the
# layer above it. POSIX shell, sourced; its functions and variables begin with cfd_.
#
# An initramfs calls, in this order:
#	cfd_parse "$(cat /proc/cmdline)"	false: no root= of ours
#	(brings the network up, its own way)
#	cfd_resolve SERVERS DOMAINS		names to the daemon's resolver what that has taught
#	cfd_boot ROOT				mounts the root there; false: a mistake, told
# cfd_boot may be called again after it has failed: what is mounted by then and a daemon that runs are kept.

cfd_run=${cfd_run-/run/cachefilesd-mini}
# The file that the daemon reads, now and when it is upgraded.
cfd_conf=$cfd_run/cachefilesd.conf
# In this folder systemd leaves alone at shutdown what an initramfs has mounted and the root still needs.
cfd_cache_at=${cfd_cache_at-/run/initramfs/cachefilesd-mini}
cfd_daemon=${cfd_daemon-cachefilesd-mini}
cfd_meminfo=${cfd_meminfo-/proc/meminfo}
cfd_own_conf=${cfd_own_conf-/etc/cachefilesd.conf}
cfd_mounts=${cfd_mounts-/proc/mounts}
cfd_resolv_conf=${cfd_resolv_conf-/etc/resolv.conf}
cfd_bundles=${cfd_bundles-/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt}

cfd_newline='
'
cfd_tab='	'

# Where people look: the console, by the kernel's log. Level 3 is an error, 4 a warning.
cfd_level=4
cfd_say()
{
	echo "<$cfd_level>cachefilesd-mini: $*" >/dev/kmsg 2>/dev/null || echo "cachefilesd-mini: $*" >&2
}

# ---- the command line ----

# Calls `$2 WORD` for each word of the text $1, as the kernel parts them: at blanks, but for those in
# double quotes, which are left out; up to a word "--", behind which all is init's.
cfd_each_word()
{
	cfd_rest=$1
	cfd_word=
	cfd_some=
	while [ -n "$cfd_rest" ]; do
		case $cfd_rest in
		\"*)
			cfd_rest=${cfd_rest#?}
			cfd_piece=${cfd_rest%%\"*}
			cfd_word=$cfd_word$cfd_piece
			cfd_some=yes
			cfd_rest=${cfd_rest#"$cfd_piece"}
			cfd_rest=${cfd_rest#\"}
			;;
		[" $cfd_tab$cfd_newline"]*)
			cfd_rest=${cfd_rest#?}
			[ "$cfd_word" != -- ] || return 0
			[ -z "$cfd_some" ] || "$2" "$cfd_word"
			cfd_word=
			cfd_some=
			;;
		*)
			cfd_piece=${cfd_rest%%[\"" $cfd_tab$cfd_newline"]*}
			cfd_word=$cfd_word$cfd_piece
			cfd_some=yes
			cfd_rest=${cfd_rest#"$cfd_piece"}
			;;
		esac
	done
	[ -z "$cfd_some" ] || [ "$cfd_word" = -- ] || "$2" "$cfd_word"
}

# A word that is a line of configuration.
cfd_take_line()
{
	cfd_line=${1#cachefilesd.}
	case $cfd_line in
	*=*) cfd_line="${cfd_line%%=*} ${cfd_line#*=}" ;;
	esac
	cfd_lines="$cfd_lines$cfd_line$cfd_newline"
}

# One word of it.
cfd_take()
{
	case $1 in
	root=erofs-http:* | root=squashfs-http:* | root=ext4-http:* | \
		netroot=erofs-http:* | netroot=squashfs-http:* | netroot=ext4-http:*)
		cfd_urls=${1#*-http:}
		cfd_type=${1%%-http:*}
		cfd_type=${cfd_type#*root=}
		;;
	cachefilesd.cache=*) cfd_cache=${1#*=} ;;
	cachefilesd.overlay=*) cfd_overlay=${1#*=} ;;
	cachefilesd.wait=*) cfd_wait=${1#*=} ;;
	cachefilesd.fallback=*) cfd_fallback=${1#*=} ;;
	cachefilesd.fallback-after=*) cfd_fallback_after=${1#*=} ;;
	cachefilesd.fallback-roothash=*) cfd_fallback_roothash=${1#*=} ;;
	cachefilesd.verity=require | cachefilesd.verity=allow | cachefilesd.verity=*://*) cfd_take_line "$1" ;;
	cachefilesd.verity=*) cfd_verity=${1#*=} ;;
	# With a name it is another image's.
	cachefilesd.roothash=*[" $cfd_tab"]*) cfd_take_line "$1" ;;
	cachefilesd.roothash=*) cfd_roothash=${1#*=} ;;
	cachefilesd.*) cfd_take_line "$1" ;;
	esac
}

# Reads a kernel command line. Sets
#	cfd_type	the image's file system
#	cfd_urls	"URL,MIRROR..." as given
#	cfd_name	the image's name, mount's fsid
#	cfd_lines	lines of configuration, url lines among them
#	cfd_cache	ram:KIB, or a device as findfs(8) takes it
#	cfd_overlay	tmpfs, none, or such a device
#	cfd_wait	seconds
#	cfd_verity	the hash at the root of the kernel's dm-verity, or nothing
#	cfd_roothash	the hash at the root of the image's tree; not set: none is given
#	cfd_hashes	lines of configuration with root hashes, and whether it is a fallback
#	cfd_fallback	"URL,MIRROR..." of the image that is booted where that one is not, or nothing;
#			cfd_fallback_after, cfd_fallback_roothash as above
# Returns false where there is no root of ours, and says what is wrong with one.
cfd_parse()
{
	cfd_urls=''
	cfd_lines=''
	cfd_cache=ram:
	cfd_overlay=tmpfs
	cfd_wait=60
	cfd_verity=
	cfd_fallback=
	cfd_fallback_after=120
	unset cfd_roothash cfd_fallback_roothash
	cfd_each_word "$1" cfd_take
	[ -n "$cfd_urls" ] || return 1
	cfd_words=$cfd_lines
	cfd_check_hashes && cfd_check_places && cfd_check_fallback && cfd_name_image "root=$cfd_type-http:" || return
	cfd_hashes=${cfd_roothash+roothash $cfd_name $cfd_roothash$cfd_newline}
}

# The part of a URL behind its last '/', without a query.
cfd_last_part()
{
	cfd_part=${1%%[?#]*}
	cfd_part=${cfd_part##*/}
}

# A url line with the folder, to which the daemon appends what is mounted, is right for other images
# of the place too; but where the names differ, or say more than a name does, each line is the whole
# URL. $1 is the word that has the URLs.
cfd_name_image()
{
	cfd_lines=$cfd_words
	cfd_last_part "${cfd_urls%%,*}"
	cfd_name=$cfd_part
	cfd_folders=yes
	cfd_list=$cfd_urls,
	while [ -n "$cfd_list" ]; do
		cfd_url=${cfd_list%%,*}
		cfd_list=${cfd_list#*,}
		case $cfd_url in
		http://?*/?* | https://?*/?*) ;;
		*) cfd_say "$1 '$cfd_url' is no http or https URL of an image"; return 1 ;;
		esac
		case $cfd_url in
		*/"$cfd_name") ;;
		*) cfd_folders= ;;
		esac
	done
	case $cfd_name in
	*[!A-Za-z0-9._~-]*) cfd_folders= ;;
	'' | . | ..) cfd_say "$1 '$cfd_urls' names no image"; return 1 ;;
	esac
	case $cfd_verity:$cfd_folders in
	:* | *[0-9a-f]:yes) ;;
	*) cfd_say "cachefilesd.verity=$cfd_verity: needs a hash, and URLs that end in the image's name"; return 1 ;;
	esac
	cfd_list=$cfd_urls,
	cfd_url_lines=
	while [ -n "$cfd_list" ]; do
		cfd_url=${cfd_list%%,*}
		cfd_list=${cfd_list#*,}
		[ -z "$cfd_folders" ] || cfd_url=${cfd_url%/*}/
		cfd_url_lines="${cfd_url_lines}url $cfd_url$cfd_newline"
	done
	cfd_lines=$cfd_url_lines$cfd_lines
}

# Whether the word $1 has such a value. An empty one is a mistake: it must not read as none.
cfd_is_hash()
{
	cfd_digits=${2%%:*} cfd_bytes=${2#*:}
	[ "$cfd_bytes" != "$2" ] || cfd_bytes=0
	case $cfd_digits/$cfd_bytes in
	*[!0-9A-Fa-f]*/* | */ | */*[!0-9]*) ;;
	*) [ ${#cfd_digits} -ne 64 ] || return 0 ;;
	esac
	cfd_say "cachefilesd.$1=$2: needs 64 hexadecimal digits, and behind them :BYTES or nothing"
	return 1
}

cfd_check_hashes()
{
	[ -z "${cfd_roothash+given}" ] || cfd_is_hash roothash "$cfd_roothash" || return
	[ -z "${cfd_fallback_roothash+given}" ] || cfd_is_hash fallback-roothash "$cfd_fallback_roothash" || return
	# The tree's own device would have to have a root hash too.
	[ -z "$cfd_verity" ] || [ -z "${cfd_roothash+given}" ] || {
		cfd_say "cachefilesd.verity= and cachefilesd.roothash= are two ways to verify: give one of them"
		return 1
	}
}

# The initramfs's own lines, as the daemon reads them: without blanks before them, an editor's byte-order mark, CR at
# their ends. The last one may have no end.
cfd_own_lines()
{
	[ ! -r "$cfd_own_conf" ] || { cat "$cfd_own_conf" && echo; } |
		sed "1s/^$(printf '\357\273\277')//; s/^[[:blank:]]*//; s/$(printf '\r')\$//; /^\$/d"
}

# The values of that word's lines, in the initramfs and then on the command line: the last one counts.
cfd_values()
{
	{ cfd_own_lines; printf %s "$cfd_words"; } | sed -n "s/^$1[[:blank:]]\{1,\}//p"
}

# Whether a line has a root hash for the image of the URL $1: "NAME HEX", or "HEX" for each that has no other.
cfd_has_hash()
{
	cfd_last_part "$1"
	[ -n "$(cfd_values roothash | while read -r cfd_key cfd_value; do
		[ "${cfd_value:+$cfd_key}" != "${cfd_value:+$cfd_part}" ] || echo yes
	done)" ]
}

# Whether the value $3 of the word $1 is seconds, $2 at least.
cfd_is_seconds()
{
	case $3 in
	'' | *[!0-9]* | ??????*) ;;
	*) [ "$3" -lt "$2" ] || return 0 ;;
	esac
	cfd_say "cachefilesd.$1=$3: needs seconds, from $2 to 99999"
	return 1
}

# Whether the daemon opens the fallback only if it is verified. Where images without a root hash are opened too, a key
# alone does not say that.
cfd_is_verified_fallback()
{
	[ -z "${cfd_fallback_roothash+given}" ] && ! cfd_has_hash "${cfd_fallback%%,*}" || return 0
	[ -n "$(cfd_values verity-key)" ] && [ "$(cfd_values verity | sed '/:/d' | sed '$!d')" != allow ]
}

# A fallback that is verified by nothing would be the way round the root hash.
cfd_check_fallback()
{
	[ -n "$cfd_fallback" ] || return 0
	cfd_is_seconds fallback-after 1 "$cfd_fallback_after" || return
	[ -z "$cfd_verity" ] ||
		{ cfd_say "cachefilesd.verity= is the hash of one image: a fallback needs cachefilesd.roothash="; return 1; }
	{ [ -z "${cfd_roothash+given}" ] && ! cfd_has_hash "${cfd_urls%%,*}"; } || cfd_is_verified_fallback || {
		cfd_say "cachefilesd.fallback= needs cachefilesd.fallback-roothash=," \
			"or cachefilesd.verity-key= and no cachefilesd.verity=allow"
		return 1
	}
	cfd_first=$cfd_urls
	cfd_urls=$cfd_fallback
	cfd_name_image cachefilesd.fallback= || return
	cfd_urls=$cfd_first
}

# KiB of "SIZE", bytes with K, M or G by choice, in $cfd_kib. False: that is no size.
cfd_size()
{
	cfd_number=${1%[KMG]}
	case $cfd_number in '' | *[!0-9]* | 0* | ??????????*) return 1 ;; esac
	case $1 in
	*K) cfd_kib=$cfd_number ;;
	*M) cfd_kib=$((cfd_number * 1024)) ;;
	*G) cfd_kib=$((cfd_number * 1024 * 1024)) ;;
	*) cfd_kib=$((cfd_number / 1024)) ;;
	esac
}

# A quarter of the memory, in $cfd_kib.
cfd_quarter()
{
	cfd_number=$(sed -n 's/^MemTotal:[^0-9]*\([0-9]*\).*/\1/p' "$cfd_meminfo")
	cfd_kib=$((${cfd_number:-262144} / 4))
}

cfd_is_device()
{
	case $1 in
	UUID=?* | LABEL=?* | PARTUUID=?* | PARTLABEL=?* | /dev/?*) ;;
	*) return 1 ;;
	esac
}

cfd_check_places()
{
	case $cfd_cache in
	ram:) cfd_quarter && cfd_cache=ram:$cfd_kib ;;
	ram:*)
		cfd_kib=0
		cfd_size "${cfd_cache#ram:}"
		[ "$cfd_kib" -ge 16384 ] || {
			cfd_say "cachefilesd.cache=$cfd_cache: needs a size of 16M or more, such as ram:256M"
			return 1
		}
		cfd_cache=ram:$cfd_kib
		;;
	*)
		cfd_is_device "$cfd_cache" || {
			cfd_say "cachefilesd.cache=$cfd_cache: needs UUID=, LABEL=, /dev/... or ram:SIZE"
			return 1
		}
		;;
	esac
	[ "$cfd_overlay" = tmpfs ] || [ "$cfd_overlay" = none ] || cfd_is_device "$cfd_overlay" || {
		cfd_say "cachefilesd.overlay=$cfd_overlay: needs tmpfs, none, UUID=, LABEL= or /dev/..."
		return 1
	}
	cfd_is_seconds wait 0 "$cfd_wait"
}

# ---- places ----

# Whether something is mounted at the folder $1, of the type $2 if that is given.
cfd_mounted()
{
	while read -r cfd_source cfd_place cfd_kind cfd_rest; do
		[ "$cfd_place ${2-$cfd_kind}" != "$1 $cfd_kind" ] || return 0
	done <"$cfd_mounts"
	: "$cfd_source$cfd_rest"
	return 1
}

# A block device in memory of $1 KiB, in $cfd_device.
cfd_ram_device()
{
	modprobe -q zram 2>/dev/null
	if [ -r /sys/class/zram-control/hot_add ]; then
		[ -s "$cfd_run/zram" ] || cat /sys/class/zram-control/hot_add >"$cfd_run/zram"
		read -r cfd_number <"$cfd_run/zram" && read -r cfd_kib <"/sys/block/zram$cfd_number/disksize" || return
		[ "$cfd_kib" != 0 ] || echo "$1K" >"/sys/block/zram$cfd_number/disksize" || return
		cfd_device=/dev/zram$cfd_number
	else
		modprobe -q brd rd_nr=1 rd_size="$1" 2>/dev/null
		cfd_device=/dev/ram0
	fi
	[ -b "$cfd_device" ] || {
		cfd_say "no block device in memory: the kernel needs CONFIG_ZRAM or CONFIG_BLK_DEV_RAM"
		return 1
	}
	# ext2, which other mkfs make, is no cache: the kernel would take its holes for zeros.
	mke2fs -q -t ext4 -b 4096 -m 0 -O ^has_journal "$cfd_device" >/dev/null || {
		cfd_say "mke2fs cannot make an ext4 in $cfd_device"
		return 1
	}
}

# The device of UUID= and its like, in $cfd_device, waited for.
cfd_find_device()
{
	cfd_waited=0
	while :; do
		case $1 in
		/dev/*) cfd_device=$1 ;;
		*) cfd_device=$(findfs "$1" 2>/dev/null) || cfd_device= ;;
		esac
		[ ! -b "$cfd_device" ] || return 0
		[ "$cfd_waited" -lt "$cfd_wait" ] || break
		[ $((cfd_waited % 10)) -ne 3 ] || cfd_say "waiting for $1"
		sleep 1
		cfd_waited=$((cfd_waited + 1))
	done
	cfd_say "$1 is not there after $cfd_wait s"
	return 1
}

# Mounts the device $1 at $2, unless it is the cache's, which is there already: then $cfd_at is that.
cfd_mount_device()
{
	cfd_at=$2
	if [ "$1" = "$cfd_cache" ] && [ "$2" != "$cfd_cache_at" ]; then
		cfd_at=$cfd_cache_at
		return 0
	fi
	cfd_mounted "$2" && return
	mkdir -p "$2"
	cfd_options=rw,noatime
	# A cache holds nothing to execute: who has changed the disk while it was off may have put a set-user-ID program
	# there.
	[ "$1" != "$cfd_cache" ] || [ "$1" = "$cfd_overlay" ] || cfd_options=$cfd_options,nosuid,nodev,noexec
	mount -o "$cfd_options" "$cfd_device" "$2" 2>/dev/null && return
	# Busybox's mount tries only what the kernel knows already. Of these, initramfs images have ext4 by
	# themselves.
	modprobe -qa ext4 xfs f2fs btrfs 2>/dev/null
	mount -o "$cfd_options" "$cfd_device" "$2" || { cfd_say "$cfd_device cannot be mounted at $2"; return 1; }
}

# A cache in memory is a tmpfs at first: the daemon says only with a cache which front end it takes. With huge
# pages its holes would be data.
cfd_mount_cache()
{
	cfd_mounted "$cfd_cache_at" || case $cfd_cache in
	ram:*)
		mkdir -p "$cfd_cache_at"
		mount -t tmpfs -o "mode=755,huge=never,size=${cfd_cache#ram:}k" tmpfs "$cfd_cache_at"
		;;
	*) cfd_find_device "$cfd_cache" && cfd_mount_device "$cfd_cache" "$cfd_cache_at" ;;
	esac && mkdir -p "$cfd_cache_at/fscache" && cfd_choose || return
	case $cfd_front$cfd_cache in
	cachefilesram:*) cfd_exchange_tmpfs ;;
	esac
}

# The kernel's cachefiles needs holes that it can ask for, which a tmpfs has not.
cfd_exchange_tmpfs()
{
	cfd_mounted "$cfd_cache_at" tmpfs || return 0
	umount "$cfd_cache_at" && cfd_ram_device "${cfd_cache#ram:}" &&
		cfd_mount_device "$cfd_cache" "$cfd_cache_at" && mkdir -p "$cfd_cache_at/fscache"
}

# ---- the network ----

# Adds to resolv.conf those of the name servers $1 that are missing there, and the search domains $2 if it
# has none. systemd-networkd appends "#NAME" to a server, and writes one with a port in brackets; ipconfig
# writes 0.0.0.0 for none.
cfd_resolve()
{
	cfd_lines_new=
	cfd_known=
	cfd_domains=
	for cfd_value in $2; do
		cfd_domains="$cfd_domains $cfd_value"
	done
	[ ! -r "$cfd_resolv_conf" ] || while read -r cfd_key cfd_value cfd_rest || [ -n "$cfd_key" ]; do
		case $cfd_key in
		nameserver) cfd_known="$cfd_known $cfd_value" ;;
		search | domain) cfd_domains= ;;
		esac
	done <"$cfd_resolv_conf"
	for cfd_value in $1; do
		cfd_value=${cfd_value%%#*}
		case "$cfd_known " in
		*" $cfd_value "*) continue ;;
		esac
		case $cfd_value in
		'' | 0.0.0.0 | \[*) continue ;;
		esac
		cfd_known="$cfd_known $cfd_value"
		cfd_lines_new="${cfd_lines_new}nameserver $cfd_value$cfd_newline"
	done
	cfd_lines_new="$cfd_lines_new${cfd_domains:+search$cfd_domains$cfd_newline}"
	[ -n "$cfd_lines_new" ] || return 0
	# A link to a file that does not exist cannot be written through.
	[ -e "$cfd_resolv_conf" ] || [ ! -L "$cfd_resolv_conf" ] || rm -f "$cfd_resolv_conf"
	cfd_text=$(cat "$cfd_resolv_conf" 2>/dev/null)
	printf %s "${cfd_text:+$cfd_text$cfd_newline}$cfd_lines_new" >"$cfd_resolv_conf"
}

# ---- the daemon ----

# Whether the command line has a root hash for the image of a line of the initramfs, "NAME HEX".
cfd_is_outranked()
{
	cfd_value=${1%[" $cfd_tab"]*}
	cfd_value=${cfd_value#"${cfd_value%%[!" $cfd_tab"]*}"}
	cfd_value=${cfd_value%"${cfd_value##*[!" $cfd_tab"]}"}
	case $cfd_newline$cfd_hashes in
	*"${cfd_newline}roothash $cfd_value "*) ;;
	*) return 1 ;;
	esac
}

# The files of the initramfs that lines name are gone after the boot: they move to $cfd_run, and the lines
# with them. Without a `ca`, the bundle of trusted certificates is one.
cfd_keep_files()
{
	cfd_bundle=yes
	while IFS= read -r cfd_line || [ -n "$cfd_line" ]; do
		cfd_word=${cfd_line%%[" $cfd_tab"]*}
		case $cfd_word in
		ca | cert | key | netrc | verity-key)
			cfd_file=${cfd_line#"$cfd_word"}
			cfd_file=${cfd_file#"${cfd_file%%[!" $cfd_tab"]*}"}
			[ "$cfd_word" != ca ] || cfd_bundle=
			if [ -r "$cfd_file" ] && cat "$cfd_file" >"$cfd_run/$cfd_word"; then
				cfd_line="$cfd_word $cfd_run/$cfd_word"
			fi
			;;
		roothash) ! cfd_is_outranked "${cfd_line#roothash}" || continue ;;
		esac
		printf '%s\n' "$cfd_line"
	done
	for cfd_file in $cfd_bundles; do
		if [ -n "$cfd_bundle" ] && [ -r "$cfd_file" ]; then
			cat "$cfd_file" >"$cfd_run/ca"
			echo "ca $cfd_run/ca"
			cfd_bundle=
		fi
	done
}

# Whether a line attaches the image, perhaps to a device of the user's choice: a second one is a mistake.
cfd_is_attached()
{
	while read -r cfd_key cfd_value cfd_rest; do
		[ "$cfd_key $cfd_value" != "attach $cfd_name" ] || return 0
	done <"$cfd_conf"
	return 1
}

# The configuration: the initramfs's own, then the command line's. Only NBD has other file systems than EROFS, and
# devices below dm-verity.
cfd_configure()
{
	# Tokens and keys may be in these.
	cfd_umask=$(umask)
	umask 077
	{
		cfd_own_lines | sed '/^dir[[:blank:]]/d'
		echo "dir $cfd_cache_at/fscache"
		printf %s "$cfd_lines"
	} | cfd_keep_files >"$cfd_conf"
	cfd_is_attached || echo "attach $cfd_name" >>"$cfd_conf"
	[ -z "$cfd_verity" ] || echo "attach $cfd_name.verity" >>"$cfd_conf"
	[ "$cfd_type$cfd_verity" = erofs ] || echo "front nbd" >>"$cfd_conf"
	printf %s "$cfd_hashes" >>"$cfd_conf"
	umask "$cfd_umask"
}

# The front end, in $cfd_front: nbd or cachefiles. Mistakes are told when the daemon starts, but for one that it would
# not take for one.
cfd_choose()
{
	modprobe -qa cachefiles erofs 2>/dev/null
	cfd_front=cachefiles
	case $cfd_type$cfd_verity$cfd_newline$("$cfd_daemon" --test -f "$cfd_conf" 2>/dev/null) in
	*"${cfd_newline}front nbd"* | [!e]* | ext4* | erofs[0-9a-f]*)
		cfd_front=nbd
		modprobe -q nbd max_part=16 2>/dev/null
		[ "$(cfd_values control | sed '$!d')" != none ] ||
			{ cfd_say "cachefilesd.control=none: a root on NBD needs the control socket: leave it out"; return 1; }
		;;
	esac
	echo "$cfd_front" >"$cfd_run/front"
}

# Whether there is a process whose id stands in the file $1.
cfd_runs()
{
	[ -r "$1" ] && read -r cfd_pid <"$1" && kill -0 "$cfd_pid" 2>/dev/null
}

# The daemon's own words about a mistake are on the console then. What may become better is tried
# again.
cfd_start()
{
	cfd_waited=0
	while :; do
		"$cfd_daemon" -p "$cfd_run/pid" -f "$cfd_conf"
		case $? in
		0) return 0 ;;
		2) cfd_say "the configuration in $cfd_conf has the mistake told above"; return 1 ;;
		esac
		[ "$cfd_waited" -lt "$cfd_wait" ] || return 1
		sleep 2
		cfd_waited=$((cfd_waited + 2))
	done
}

# Puts the kernel's dm-verity above $cfd_device, with the tree that is attached beside it.
cfd_verify()
{
	[ -n "$cfd_verity" ] || return 0
	[ -b /dev/mapper/cachefilesd-mini ] || {
		cfd_tree=$("$cfd_daemon" -f "$cfd_conf" --attach "$cfd_name.verity") &&
			veritysetup open "$cfd_device" cachefilesd-mini "$cfd_tree" "$cfd_verity"
	} && cfd_device=/dev/mapper/cachefilesd-mini
}

# Mounts the image at $cfd_run/image. A journal cannot be played on a device that is not writable.
cfd_try_image()
{
	if [ "$cfd_front" = cachefiles ]; then
		mount -t erofs -o "ro,fsid=$cfd_name" none "$cfd_run/image"
		return
	fi
	cfd_options=ro
	[ "$cfd_type" != ext4 ] || cfd_options=ro,noload
	cfd_device=$("$cfd_daemon" -f "$cfd_conf" --attach "$cfd_name") && cfd_verify &&
		mount -t "$cfd_type" -o "$cfd_options" "$cfd_device" "$cfd_run/image"
}

# With `retry hard`, an initramfs's default, the daemon itself waits for servers; what it gives up, as a 404, is
# tried again ever more rarely. A device that waits for its image is only looked at. False: it is the fallback's
# turn.
cfd_mount_image()
{
	cfd_mounted "$cfd_run/image" && return
	mkdir -p "$cfd_run/image"
	read -r cfd_front <"$cfd_run/front"
	cfd_longest=8
	if [ "$cfd_front" = cachefiles ]; then
		cfd_longest=64
		"$cfd_daemon" -f "$cfd_conf" --prime "$cfd_name" ||
			cfd_say "$cfd_name is not primed: what this boot fetches is not kept if the machine is cut off"
	fi
	[ -z "$cfd_fallback" ] || cfd_longest=4
	cfd_pause=1
	until cfd_try_image; do
		! cfd_gives_up || return 1
		cfd_say "$cfd_name cannot be mounted (the reason is told above); again in $cfd_pause s"
		sleep "$cfd_pause"
		[ "$cfd_pause" -ge "$cfd_longest" ] || cfd_pause=$((cfd_pause * 2))
		# It may have ended meanwhile, as when the kernel gives up a cache whose disk fails.
		[ -e "$cfd_run/late" ] || cfd_runs "$cfd_run/pid" || cfd_start
	done
}

# ---- the fallback ----

# Whether what the server of the URL $1 has is not the image of the root hash.
cfd_misfits()
{
	(umask 077 && sed '/^url[[:blank:]]/d' "$cfd_conf" >"$cfd_run/one.conf") # else all servers are its mirrors
	cfd_text=$("$cfd_daemon" -f "$cfd_run/one.conf" -o "retry soft 5" ${cfd_roothash+-o "roothash $cfd_roothash"} \
		--get "$1" 0 4096 2>&1 >/dev/null)
	[ $? = 10 ] || return
	case $cfd_text in *"root hash"*) ;; *) false ;; esac
}

# Whether that is so of all servers: no time makes it better. One alone that lies must not bring the fallback about.
cfd_all_misfit()
{
	cfd_list=$cfd_urls,
	while [ -n "$cfd_list" ]; do
		cfd_misfits "${cfd_list%%,*}" || return
		cfd_list=${cfd_list#*,}
	done
}

# Whether the first image, which could not be mounted just now, gives way to the fallback.
cfd_gives_up()
{
	[ -n "$cfd_fallback" ] || return
	[ -e "$cfd_run/late" ] || cfd_all_misfit
}

# Of one signal the daemon ends only where no image is open.
cfd_end_daemon()
{
	cfd_runs "$cfd_run/pid" || return 0
	kill "$cfd_pid"
	cfd_waited=0
	while cfd_runs "$cfd_run/pid"; do
		[ "$cfd_waited" -lt 9 ] || return 1
		sleep 1
		cfd_waited=$((cfd_waited + 1))
	done
}

# In the background: when the time is over the daemon ends, and with it a mount that waits for an OPEN.
cfd_watch()
{
	cfd_waited=0
	while [ "$cfd_waited" -lt "$cfd_fallback_after" ]; do
		sleep 1
		cfd_waited=$((cfd_waited + 1))
	done
	: >"$cfd_run/late"
	cfd_end_daemon || rm -f "$cfd_run/late"
}

# Whether the first image is mounted, and that was in time.
cfd_mount_in_time()
{
	rm -f "$cfd_run/late"
	cfd_watch &
	cfd_watcher=$!
	cfd_mount_image
	cfd_status=$?
	kill "$cfd_watcher" 2>/dev/null
	wait "$cfd_watcher" 2>/dev/null
	[ "$cfd_status" = 0 ] && cfd_runs "$cfd_run/pid"
}

# From now on the fallback is the image. Root hashes of the first stay in force: by its name, or, if both have the
# same name and the fallback has no other, for the fallback.
cfd_take_fallback()
{
	cfd_urls=$cfd_fallback
	cfd_fallback=
	cfd_first=$cfd_name
	cfd_name_image cachefilesd.fallback= || return
	if [ -n "${cfd_fallback_roothash+given}" ]; then
		[ "$cfd_name" != "$cfd_first" ] || cfd_hashes=
		cfd_hashes="${cfd_hashes}roothash $cfd_name $cfd_fallback_roothash$cfd_newline"
	fi
	cfd_hashes="${cfd_hashes}fallback yes$cfd_newline"
}

cfd_fall_back()
{
	cfd_level=3
	cfd_say "$cfd_name is not there after $cfd_fallback_after s, or does not fit its root hash:" \
		"$cfd_fallback is booted in its place"
	cfd_level=4
	! cfd_mounted "$cfd_run/image" || umount "$cfd_run/image" || return
	cfd_end_daemon || { cfd_say "the daemon does not end: an image is in use"; return 1; }
	# Also for a later call, in another process.
	echo "$cfd_fallback" >"$cfd_run/fallback"
	cfd_take_fallback && cfd_begin && cfd_mount_image
}

# ---- the end ----

# By its second name the same program is a daemon that lives to the end, should keeper and worker ever die: it is
# there without the root.
cfd_copy_end()
{
	cat "$(command -v "$cfd_daemon")" >"$cfd_end" && chmod 755 "$cfd_end" &&
		ln -sf shutdown "${cfd_end%/*}/@cachefilesd-mini"
}

# What systemd runs in memory when it has unmounted what it can: the daemon's program ends the daemon, and
# unmounts the root and the cache.
cfd_keep_end()
{
	cfd_end=${cfd_cache_at%/*}/shutdown
	[ ! -e "$cfd_end" ] || return 0
	cfd_at=${cfd_end%/*}
	mkdir -p "$cfd_at"
	# /run is a place for no programs in Debian's initramfs, and below sysvinit, which mounts it again. Not shared
	# with it, a mount of its own has each later mount once.
	cfd_mounted "$cfd_at" || {
		mount -o bind "$cfd_at" "$cfd_at" && mount --make-private "$cfd_at" &&
			mount -o remount,bind,exec,nosuid,nodev "$cfd_at" "$cfd_at"
	}
	cfd_copy_end
}

# ---- the root ----

cfd_mount_root()
{
	cfd_mounted "$1" && return
	case $cfd_overlay in
	none) mount -o bind "$cfd_run/image" "$1"; return ;;
	tmpfs)
		cfd_at=$cfd_run/overlay
		mkdir -p "$cfd_at"
		cfd_mounted "$cfd_at" || mount -t tmpfs -o mode=755 tmpfs "$cfd_at"
		;;
	*) cfd_find_device "$cfd_overlay" && cfd_mount_device "$cfd_overlay" "$cfd_run/overlay" ;;
	esac || return
	mkdir -p "$cfd_at/overlay/upper" "$cfd_at/overlay/work"
	modprobe -q overlay 2>/dev/null
	mount -t overlay -o "lowerdir=$cfd_run/image,upperdir=$cfd_at/overlay/upper,workdir=$cfd_at/overlay/work" \
		root "$1"
}

# A mistake in the fallback's configuration is told while it is not needed yet. Where the first one has a mistake, the
# start tells that.
cfd_try_fallback()
{
	[ -n "$cfd_fallback" ] && "$cfd_daemon" --test -f "$cfd_conf" >/dev/null 2>&1 || return 0
	(cfd_conf=$cfd_run/fallback.conf
		cfd_take_fallback && cfd_configure && "$cfd_daemon" --test -f "$cfd_conf" >/dev/null) ||
		{ cfd_say "cachefilesd.fallback=$cfd_fallback: has the mistake told above"; return 1; }
}

cfd_begin()
{
	cfd_configure && cfd_mount_cache && cfd_try_fallback && cfd_start
}

cfd_open()
{
	if [ -n "$cfd_fallback" ]; then
		cfd_mount_in_time || cfd_fall_back
	else
		cfd_mount_image
	fi
}

cfd_boot()
{
	mkdir -p "$cfd_run"
	cfd_keep_end
	[ -z "$cfd_fallback" ] || [ ! -e "$cfd_run/fallback" ] || cfd_take_fallback
	{ cfd_runs "$cfd_run/pid" || cfd_begin; } && cfd_open && cfd_mount_root "$1" || return
	# sysvinit's sendsigs lets live what is named here.
	mkdir -p /run/sendsigs.omit.d && ln -sf "$cfd_run/pid" /run/sendsigs.omit.d/cachefilesd-mini
}
