#!/bin/sh
# Unit tests of contrib/initramfs/cachefilesd-boot.sh, for the shell that runs this; TAP lines.
# test/package/test_contrib.sh runs it under dash and busybox.
cd "$(dirname "$0")/../.." || exit 1
shell=${1-sh}
failed=0
cfd_run=$(mktemp -d)
trap 'rm -rf "$cfd_run"' EXIT
cfd_cache_at=$cfd_run/cache
cfd_meminfo=$cfd_run/meminfo
cfd_own_conf=$cfd_run/own.conf
cfd_bundles=
cfd_mounts=$cfd_run/mounts
: >"$cfd_mounts"
printf 'MemTotal:        2048000 kB\nMemFree: 7 kB\n' >"$cfd_meminfo"
. contrib/initramfs/cachefilesd-boot.sh
cfd_say() { said=$*; }

tell()
{
	if [ "$2" = "$3" ]; then
		echo "ok - boot words ($shell): $1"
	else
		echo "# '$2'"
		echo "# not '$3'"
		echo "not ok - boot words ($shell): $1"
		failed=1
	fi
}

# words NAME COMMAND_LINE WORD...: the line is divided so.
words()
{
	name=$1
	line=$2
	shift 2
	expected=
	for word; do expected="$expected<$word>"; done
	got=
	cfd_each_word "$line" take_word
	tell "$name" "$got" "$expected"
}
take_word() { got="$got<$1>"; }

# good NAME COMMAND_LINE IMAGE CACHE OVERLAY LINES: the words are understood so.
good()
{
	said=
	if cfd_parse "$2"; then
		tell "$1" "$cfd_name $cfd_cache $cfd_overlay
$cfd_lines" "$3 $4 $5
$6
"
	else
		tell "$1" "refused: $said" "$3"
	fi
}

# bad NAME COMMAND_LINE MESSAGE: refused, with a message that contains this.
bad()
{
	said=
	if cfd_parse "$2"; then
		tell "$1" accepted "$3"
	else
		case $said in *"$3"*) said=$3 ;; esac
		tell "$1" "$said" "$3"
	fi
}

tab='	'
words "nothing" ""
words "blanks only" "  $tab "
words "words" "quiet root=/dev/sda1  rw$tab console=ttyS0" quiet root=/dev/sda1 rw console=ttyS0
words "a value in quotes" 'a="b c" d' 'a=b c' d
words "a whole word in quotes" '"a=b c" d' 'a=b c' d
words "an empty word in quotes" 'a "" b' a '' b
words "a quote that is not closed" 'a="b c' 'a=b c'
words "quotes in the middle" 'a"b c"d e' 'ab cd' e
words "what is init's" 'a b -- c d' a b
words "-- in a word is a word" 'a --b' a --b
# shellcheck disable=SC2016
words "nothing is expanded" '* $HOME `id` \a ~ a=$(id) ?' '*' '$HOME' '`id`' '\a' '~' 'a=$(id)' '?'
words "a newline parts" 'a
b' a b

u=root=erofs-http:https://h.example/i.erofs
n='url https://h.example/'
good "one URL" "quiet $u" i.erofs ram:512000 tmpfs "$n"
good "netroot=" "netroot=erofs-http:https://h.example/i.erofs" i.erofs ram:512000 tmpfs "$n"
good "the last one counts" "root=erofs-http:http://x/y $u" i.erofs ram:512000 tmpfs "$n"
good "another root= beside netroot=" "root=/dev/root net$u" i.erofs ram:512000 tmpfs "$n"
good "mirrors" "$u,http://m.example:8080/a/b/i.erofs" i.erofs ram:512000 tmpfs "$n
url http://m.example:8080/a/b/"
good "mirrors of another name are whole URLs" "$u,http://m.example/j" i.erofs ram:512000 tmpfs \
	"url https://h.example/i.erofs
url http://m.example/j"
good "a query makes it a whole URL" "$u?token=a/b&c=d" i.erofs ram:512000 tmpfs \
	"url https://h.example/i.erofs?token=a/b&c=d"
good "so does an encoded byte" "root=erofs-http:http://h/a%20b" a%20b ram:512000 tmpfs "url http://h/a%20b"
good "IPv6" "root=erofs-http:http://[2001:db8::1]:80/x/i" i ram:512000 tmpfs "url http://[2001:db8::1]:80/x/"
tell "the file system of erofs-http" "$cfd_type" erofs
for type in squashfs ext4; do
	good "$type" "root=$type-http:https://h.example/i.$type,http://m/i.$type" i.$type ram:512000 tmpfs "$n
url http://m/"
	tell "the file system of $type-http" "$cfd_type" $type
	good "netroot= of $type" "netroot=$type-http:https://h.example/i" i ram:512000 tmpfs "$n"
	tell "the file system of netroot=$type-http" "$cfd_type" $type
done
good "lines of configuration" "$u cachefilesd.timeout=5 cachefilesd.connections=2" i.erofs ram:512000 tmpfs "$n
timeout 5
connections 2"
good "a value with blanks" "$u \"cachefilesd.retry=soft 300\"" i.erofs ram:512000 tmpfs "$n
retry soft 300"
good "a value with =" "$u cachefilesd.pin=sha256//AAAA=" i.erofs ram:512000 tmpfs "$n
pin sha256//AAAA="
good "a word without a value" "$u cachefilesd.nocull" i.erofs ram:512000 tmpfs "$n
nocull"
good "words that add up" "$u cachefilesd.resolve=a:1:1.2.3.4 cachefilesd.resolve=b:1:1.2.3.4" \
	i.erofs ram:512000 tmpfs "$n
resolve a:1:1.2.3.4
resolve b:1:1.2.3.4"
good "words of others" "$u cachefilesd=x mycachefilesd.x=y cachefile.x=1" i.erofs ram:512000 tmpfs "$n"
good "behind --" "$u -- cachefilesd.timeout=5" i.erofs ram:512000 tmpfs "$n"
good "a cache by UUID" "$u cachefilesd.cache=UUID=1-2" i.erofs UUID=1-2 tmpfs "$n"
good "a cache by label" "$u cachefilesd.cache=LABEL=c" i.erofs LABEL=c tmpfs "$n"
good "a cache on a device" "$u cachefilesd.cache=/dev/sda1" i.erofs /dev/sda1 tmpfs "$n"
good "a cache in memory" "$u cachefilesd.cache=ram:256M" i.erofs ram:262144 tmpfs "$n"
good "the same in GiB" "$u cachefilesd.cache=ram:2G" i.erofs ram:2097152 tmpfs "$n"
good "the same in KiB" "$u cachefilesd.cache=ram:20000K" i.erofs ram:20000 tmpfs "$n"
good "the same in bytes" "$u cachefilesd.cache=ram:33554432" i.erofs ram:32768 tmpfs "$n"
good "no overlay" "$u cachefilesd.overlay=none" i.erofs ram:512000 none "$n"
good "an overlay on a device" "$u cachefilesd.overlay=LABEL=o" i.erofs ram:512000 LABEL=o "$n"
good "words that look like the kernel's dm-verity" "$u cachefilesd.verity=require cachefilesd.verity=allow \
cachefilesd.verity=https://v/%c" i.erofs ram:512000 tmpfs "$n
verity require
verity allow
verity https://v/%c"
h=0123456789abcdefABCDEF00000000000000000000000000000000000000000f
good "the root's hash is no line here" "$u cachefilesd.roothash=$h" i.erofs ram:512000 tmpfs "$n"
tell "the root's hash" "$cfd_roothash $cfd_hashes" "$h roothash i.erofs $h
"
good "another image's hash is one" "$u \"cachefilesd.roothash=j $h\" cachefilesd.verity-key=/k" i.erofs ram:512000 tmpfs "$n
roothash j $h
verity-key /k"
tell "no hash of the root's" "${cfd_roothash-none}$cfd_hashes" none
f=cachefilesd.fallback=http://f/g/old.erofs
good "a fallback" "$u $f" i.erofs ram:512000 tmpfs "$n"
tell "its words" "$cfd_fallback $cfd_fallback_after ${cfd_fallback_roothash-none}" "http://f/g/old.erofs 120 none"
good "a fallback with mirrors, a root hash and another time" \
	"$u $f,http://m/old.erofs cachefilesd.fallback-after=9 cachefilesd.roothash=$h cachefilesd.fallback-roothash=$h" \
	i.erofs ram:512000 tmpfs "$n"
good "a fallback whose root hash is signed" "$u $f cachefilesd.roothash=$h cachefilesd.verity-key=/k" \
	i.erofs ram:512000 tmpfs "$n
verity-key /k"
good "nothing is expanded" "$u cachefilesd.header='X:*\$(id)'" i.erofs ram:512000 tmpfs "$n
header 'X:*\$(id)'"

bad "no root of ours" "root=/dev/sda1 quiet" ""
bad "another file system" "root=xfs-http:http://h/i" ""
bad "the word of another file system" "root=ext4-http:http:///i" "root=ext4-http: 'http:///i' is no http or https URL"
bad "an empty line" "" ""
bad "no URL" "root=erofs-http:" ""
bad "another scheme" "root=erofs-http:ftp://h/i" "no http or https URL"
bad "no host" "root=erofs-http:http:///i" "no http or https URL"
bad "no path" "root=erofs-http:http://h" "no http or https URL"
bad "a folder" "root=erofs-http:http://h/a/" "names no image"
bad "a name that climbs" "root=erofs-http:http://h/a/.." "names no image"
bad "a mirror that is empty" "$u,,http://h/i" "no http or https URL"
bad "a small cache" "$u cachefilesd.cache=ram:1M" "16M or more"
bad "a cache without a number" "$u cachefilesd.cache=ram:lots" "16M or more"
bad "a cache with a sign" "$u cachefilesd.cache=ram:-5G" "16M or more"
bad "a cache of too many digits" "$u cachefilesd.cache=ram:99999999999G" "16M or more"
bad "a cache in tmpfs" "$u cachefilesd.cache=tmpfs" "UUID="
bad "a cache without a place" "$u cachefilesd.cache=" "UUID="
bad "an overlay nowhere" "$u cachefilesd.overlay=disk" "tmpfs, none"
bad "a verity that is no hash" "$u cachefilesd.verity=yes" "needs a hash"
bad "verity and a URL for one name" "$u?q cachefilesd.verity=00ff" "URLs that end"
bad "an empty hash" "$u cachefilesd.roothash=" "cachefilesd.roothash=: needs 64"
bad "a hash with a digit too few" "$u cachefilesd.roothash=${h#?}" "needs 64"
bad "a hash with a digit too many" "$u cachefilesd.roothash=0$h" "needs 64"
bad "a hash with another letter" "$u cachefilesd.roothash=g${h#?}" "needs 64"
good "the root's size too" "$u cachefilesd.roothash=$h:40960" i.erofs ram:512000 tmpfs "$n"
bad "no size behind the colon" "$u cachefilesd.roothash=$h:" "needs 64"
bad "a size that is none" "$u cachefilesd.roothash=$h:4k" "needs 64"
bad "a size behind too few digits" "$u cachefilesd.roothash=${h#?}:4" "needs 64"
bad "ten hashes' length" "$u cachefilesd.roothash=$h$h$h$h$h$h$h$h$h$h" "needs 64"
bad "an empty hash of the fallback" "$u $f cachefilesd.fallback-roothash=" "cachefilesd.fallback-roothash=: needs 64"
bad "two ways to verify" "$u cachefilesd.roothash=$h cachefilesd.verity=00ff" "two ways"
bad "a fallback that nothing verifies" "$u $f cachefilesd.roothash=$h" "fallback= needs"
bad "the same with a word that begins alike" "$u $f cachefilesd.roothash=$h cachefilesd.verity-keys=x" "fallback= needs"
bad "a fallback below the kernel's dm-verity" "$u $f cachefilesd.verity=00ff" "one image"
bad "a fallback without a name" "$u cachefilesd.fallback=http://h/" "cachefilesd.fallback= 'http://h/'"
bad "a fallback at once" "$u $f cachefilesd.fallback-after=0" "fallback-after=0: needs seconds"
bad "a fallback some time" "$u $f cachefilesd.fallback-after=soon" "needs seconds"
bad "no seconds" "$u cachefilesd.wait=soon" "seconds"
bad "seconds that are too many" "$u cachefilesd.wait=100000" "cachefilesd.wait=100000: needs seconds, from 0 to 99999"
bad "a fallback too late" "$u $f cachefilesd.fallback-after=100000" "needs seconds, from 1 to 99999"
i="cachefilesd.roothash=\"i.erofs $h\""
bad "a fallback that nothing verifies, with the first's root hash by its name" "$u $f $i cachefilesd.verity=allow" \
	"fallback= needs"
bad "one that a key would verify if it had a signature" "$u $f $i cachefilesd.verity-key=/k cachefilesd.verity=allow \
cachefilesd.verity=http://v/%c" "fallback= needs"
good "one that has to have a signature" "$u $f $i cachefilesd.verity=allow cachefilesd.verity-key=/k \
cachefilesd.verity=require" i.erofs ram:512000 tmpfs "$n
roothash i.erofs $h
verity allow
verity-key /k
verity require"
good "one with a root hash by its name" "$u $f $i \"cachefilesd.roothash=old.erofs $h\" cachefilesd.verity=allow" \
	i.erofs ram:512000 tmpfs "$n
roothash i.erofs $h
roothash old.erofs $h
verity allow"
good "a fallback beside another image's root hash" "$u $f \"cachefilesd.roothash=j $h\" cachefilesd.verity=allow" \
	i.erofs ram:512000 tmpfs "$n
roothash j $h
verity allow"
printf 'verity allow\r\n\troothash  i.erofs\t%s\r\n' $h >"$cfd_own_conf"
bad "a fallback that nothing verifies, with the initramfs's root hash" "$u $f" "fallback= needs"
rm "$cfd_own_conf"

cfd_parse "$u cachefilesd.timeout=5"
printf '# own\ntimeout 7\n  dir /elsewhere\nca /etc/ca.pem\n' >"$cfd_own_conf"
cfd_configure
tell "the configuration: the initramfs's own first, its dir left out" "$(cat "$cfd_conf")" "# own
timeout 7
ca /etc/ca.pem
dir $cfd_cache_at/fscache
$n
timeout 5
attach i.erofs"
printf 'timeout 7\n# the end\\nno line' >"$cfd_own_conf"
cfd_configure
tell "a last line that has no end, and a backslash" "$(head -n 3 "$cfd_conf")" "timeout 7
# the end\\nno line
dir $cfd_cache_at/fscache"
printf '\357\273\277dir /elsewhere\r\n\r\nca %s\r\ntimeout 7\r\n' "$cfd_run/pem" >"$cfd_own_conf"
echo ca >"$cfd_run/pem"
cfd_configure
tell "a configuration in the form of another system" "$(head -n 3 "$cfd_conf")" "ca $cfd_run/ca
timeout 7
dir $cfd_cache_at/fscache"
cfd_bundles="$cfd_run/none $cfd_run/bundle"
echo roots >"$cfd_run/bundle"
echo secret >"$cfd_run/secret.key"
printf '\tkey  %s\n' "$cfd_run/secret.key" >"$cfd_own_conf"
cfd_configure
tell "files of the initramfs outlive it" \
	"$(head -n 1 "$cfd_conf") $(grep ^ca "$cfd_conf") $(cat "$cfd_run/key" "$cfd_run/ca")" \
	"key $cfd_run/key ca $cfd_run/ca secret
roots"
tell "such a file is for root only" "$(stat -c %a "$cfd_run/key")" 600
tell "the configuration is for root only" "$(stat -c %a "$cfd_conf")" 600
cfd_bundles=
: >"$cfd_own_conf"
cfd_parse "$u \"cachefilesd.attach=i.erofs /dev/nbd3\" cachefilesd.attach=j"
cfd_configure
tell "the image is not attached twice" "$(grep attach "$cfd_conf")" "attach i.erofs /dev/nbd3
attach j"
cfd_parse "root=ext4-http:http://h/i cachefilesd.attach=ii cachefilesd.front=auto"
cfd_configure
tell "other file systems are NBD's" "$(tail -n 4 "$cfd_conf")" "attach ii
front auto
attach i
front nbd"
cfd_parse "$u cachefilesd.verity=00ff"
cfd_configure
tell "dm-verity has a device for its tree" "$(tail -n 3 "$cfd_conf")" "attach i.erofs
attach i.erofs.verity
front nbd"
printf 'roothash i.erofs  %s\nroothash\ti.erofs j %s\nroothash %s\n \troothash i %s\n' $h $h $h $h >"$cfd_own_conf"
cfd_parse "$u cachefilesd.roothash=$h"
cfd_configure
tell "a root hash of the command line outranks the initramfs's" "$(grep roothash "$cfd_conf")" \
	"roothash	i.erofs j $h
roothash $h
roothash i $h
roothash i.erofs $h"
echo key >"$cfd_run/signer"
printf 'verity-key %s\n' "$cfd_run/signer" >"$cfd_own_conf"
cfd_parse "$u $f cachefilesd.roothash=$h"
tell "a fallback verified by the initramfs's key" $? 0
cfd_configure
tell "such a key outlives the initramfs" "$(grep key "$cfd_conf") $(cat "$cfd_run/verity-key")" \
	"verity-key $cfd_run/verity-key key"
# falls NAME WORDS LINES: the configuration for a fallback.
falls()
{
	cfd_parse "$u $2" && cfd_take_fallback && cfd_configure
	tell "$1" "$cfd_name:$cfd_fallback:$(grep '^url\|^attach\|^timeout\|hash\|^fallback' "$cfd_conf")" "$3"
}
falls "the fallback's configuration" "$f,http://m/old.erofs cachefilesd.timeout=5" "old.erofs::url http://f/g/
url http://m/
timeout 5
attach old.erofs
fallback yes"
falls "its root hash, beside the first's" "$f cachefilesd.roothash=$h cachefilesd.fallback-roothash=$h" \
	"old.erofs::url http://f/g/
attach old.erofs
roothash i.erofs $h
roothash old.erofs $h
fallback yes"
falls "its own root hash in place of the first's, with the same name" \
	"cachefilesd.fallback=http://f/i.erofs cachefilesd.roothash=$h cachefilesd.fallback-roothash=${h%f}e" \
	"i.erofs::url http://f/
attach i.erofs
roothash i.erofs ${h%f}e
fallback yes"
falls "the first's, with the same name and no other" "cachefilesd.fallback=http://f/i.erofs cachefilesd.roothash=$h" \
	"i.erofs::url http://f/
attach i.erofs
roothash i.erofs $h
fallback yes"
: >"$cfd_own_conf"
said=
cfd_parse "$u cachefilesd.wait=0 cachefilesd.cache=LABEL=no-such-label" && cfd_mount_cache
status=$?
tell "a disk that does not come is no boot, and told" "$status $said" "1 LABEL=no-such-label is not there after 0 s"
cfd_parse "$u cachefilesd.cache=LABEL=x"
cfd_find_device() { cfd_device=found; }
cfd_device=found
mount() { mounted=$*; }
cfd_cache=LABEL=x
cfd_mount_device LABEL=x "$cfd_run/overlay"
tell "an overlay on the cache's device is not mounted again" "$cfd_at$mounted" "$cfd_cache_at"
cfd_mount_device LABEL=y "$cfd_run/overlay"
tell "an overlay on another is" "$cfd_at $mounted" "$cfd_run/overlay -o rw,noatime found $cfd_run/overlay"
cfd_overlay=tmpfs
cfd_mount_device LABEL=x "$cfd_cache_at"
tell "nothing on a cache can be executed" "$mounted" "-o rw,noatime,nosuid,nodev,noexec found $cfd_cache_at"
cfd_overlay=LABEL=x
cfd_mount_device LABEL=x "$cfd_cache_at"
tell "but for what an overlay beside it has" "$mounted" "-o rw,noatime found $cfd_cache_at"

mounted=
mount() { mounted="$mounted$*;"; }
cfd_daemon=/bin/true
cfd_keep_end
tell "the program in memory has a mount of its own, where it can be executed" "$mounted" \
	"-o bind $cfd_run $cfd_run;--make-private $cfd_run;-o remount,bind,exec,nosuid,nodev $cfd_run $cfd_run;"
"$cfd_run/@cachefilesd-mini"
tell "it has its second name" $? 0
mounted=
cfd_keep_end
tell "both are made once" "$mounted" ""

# resolves NAME BEFORE SERVERS DOMAINS AFTER: cfd_resolve makes that of resolv.conf; "-": there is none.
cfd_resolv_conf=$cfd_run/resolv.conf
resolves()
{
	rm -f "$cfd_resolv_conf"
	[ "$2" = - ] || printf %s "$2" >"$cfd_resolv_conf"
	cfd_resolve "$3" "$4"
	tell "resolv.conf: $1" "$(cat "$cfd_resolv_conf")" "$5"
}
resolves "a new one" - "192.0.2.1 2001:db8::1" "a.example b.example" "nameserver 192.0.2.1
nameserver 2001:db8::1
search a.example b.example"
resolves "what is there stays" "search old.example
nameserver  2001:db8::53
options ndots:2
" "192.0.2.1" a.example "search old.example
nameserver  2001:db8::53
options ndots:2
nameserver 192.0.2.1"
resolves "nothing twice, no final newline" "nameserver 192.0.2.1 " "192.0.2.1 192.0.2.2 192.0.2.2" "" \
	"nameserver 192.0.2.1 
nameserver 192.0.2.2"
resolves "nothing new" "domain old.example
nameserver 192.0.2.1" "192.0.2.1" "new.example" "domain old.example
nameserver 192.0.2.1"
resolves "nothing at all" "# empty" " 0.0.0.0 " " " "# empty"
resolves "servers as systemd-networkd writes them" - "192.0.2.1#dns.example [2001:db8::1]:5353 fe80::1%eth0" "" \
	"nameserver 192.0.2.1
nameserver fe80::1%eth0"
rm -f "$cfd_resolv_conf"
command ln -s none/stub "$cfd_resolv_conf"
cfd_resolve 192.0.2.1 ""
tell "resolv.conf: a link that leads nowhere" "$(cat "$cfd_resolv_conf")" "nameserver 192.0.2.1"

# The scripts of initramfs-tools and dracut as they are, but for their paths; cfd_boot prints what the daemon
# finds.
tree=$cfd_run/tree
mkdir -p "$tree/run/systemd/netif" "$tree/etc" "$tree/scripts" "$tree/lib" "$tree/proc"
moved()
{
	sed 's#\(^\|[ (]\|[^0-9]>\|<\)/\(run\|etc\|scripts\|lib\|proc\)/#\1'"$tree"'/\2/#g' "$1"
}
moved contrib/initramfs/cachefilesd-boot.sh >"$tree/scripts/cachefilesd-boot.sh"
cat >>"$tree/scripts/cachefilesd-boot.sh" <<END
cfd_resolv_conf=$tree/etc/resolv.conf
cfd_boot() { cat "$tree/etc/resolv.conf"; }
END
cp "$tree/scripts/cachefilesd-boot.sh" "$tree/lib/"
echo 'ismounted() { false; }' >"$tree/lib/dracut-lib.sh"
echo "$u" >"$tree/proc/cmdline"
moved contrib/initramfs-tools/scripts/cachefilesd-mini >"$tree/tools"
moved contrib/dracut/70cachefilesd-mini/cachefilesd-root.sh >"$tree/dracut"
tools()
{
	(
		for stub in run_scripts wait_for_udev configure_networking panic; do eval "$stub() { :; }"; done
		# As klibc's.
		ls()
		{
			for file; do [ -e "$file" ] || return 1; done
			command ls "$@"
		}
		sleep() { echo "waits for ever"; exit; }
		. "$tree/tools"
		mountroot
	)
}
cat >"$tree/run/net-eth0.conf" <<END
IPV4DNS0='192.0.2.53'
IPV4DNS1='0.0.0.0'
DNSDOMAIN='corp.example'
DOMAINSEARCH='corp.example lan.example'
END
tell "initramfs-tools: what ipconfig has learnt" "$(tools)" "nameserver 192.0.2.53
search corp.example lan.example"
printf 'search lan.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n' >"$tree/etc/resolv.conf"
tell "initramfs-tools: its own resolv.conf stays" "$(tools)" "search lan.example
nameserver 192.0.2.53
nameserver 2001:db8::53"
rm "$tree"/run/net-eth0.conf
tell "initramfs-tools: also without a file of ipconfig's" "$(tools)" "search lan.example
nameserver 192.0.2.53
nameserver 2001:db8::53"
rm "$tree/etc/resolv.conf"
printf "IPV6DNS0='2001:db8::53'\nIPV6DOMAINSEARCH='six.example'\n" >"$tree/run/net6-eth0.conf"
tell "initramfs-tools: IPv6" "$(tools)" "nameserver 2001:db8::53
search six.example"
echo "$u cachefilesd.roothash=$h cachefilesd.wait=100000" >"$tree/proc/cmdline"
tell "initramfs-tools: a mistake in the words is no boot, however often its shell is left" "$(tools | tail -n 1)" \
	"waits for ever"
echo "$u" >"$tree/proc/cmdline"
printf '#empty\n' >"$tree/etc/resolv.conf"
printf 'DNS=192.0.2.53 2001:db8::53\nDOMAINS=corp.example lan.example\n' >"$tree/run/systemd/netif/state"
tell "dracut: what systemd-networkd has learnt" "$($shell "$tree/dracut" networkd "" /newroot 2>&1)" "#empty
nameserver 192.0.2.53
nameserver 2001:db8::53
search corp.example lan.example"

# The hooks, with what they are called by; each line of what they do is a file.
echo 'copy_exec() { :; }; manual_add_modules() { :; }; auto_add_modules() { :; }
copy_file() { [ "$1" = script ] || echo "$2"; }' >"$tree/hook-functions"
printf '\tca %s/ca.pem\r\n#key x\nverity-key  %s/signer\ncert %s/cert\nkey %s/none\nkey %s/key\n' \
	"$tree" "$tree" "$tree" "$tree" "$tree" >"$tree/etc/cachefilesd.conf"
for file in ca.pem signer cert key; do echo >"$tree/$file"; done
sed "s#/usr/share/initramfs-tools/hook-#$tree/hook-#; s#/etc/cachefilesd#$tree&#g; s#/etc/ssl#/none#" \
	contrib/initramfs-tools/hooks/cachefilesd-mini >"$tree/hook"
hooked()
{
	(umask "$1"; $shell "$tree/hook" 2>&1 | sed "s#$tree/##g; s# has no .*#:#" | tr '\n' ' ')
}
tell "initramfs-tools: the files that the configuration names" "$(hooked 077)" \
	"etc/cachefilesd.conf ca.pem signer cert key "
tell "initramfs-tools: no secrets where all may read them" "$(hooked 022)" \
	"etc/cachefilesd.conf ca.pem signer W: cachefilesd-mini: the initramfs: W: cachefilesd-mini: the initramfs: W: \
cachefilesd-mini: the initramfs: "
sed "s#/etc/cachefilesd.conf#$tree&#g" contrib/dracut/70cachefilesd-mini/module-setup.sh >"$tree/module"
tell "dracut: the files that the configuration names" "$(bash -c '
	for stub in inst_multiple inst_hook inst_script dracut_need_initqueue; do eval "$stub() { :; }"; done
	inst_simple() { case $1 in */cachefilesd-*) ;; *) echo "${1##*/}" ;; esac; }
	. "$1"; moddir=/none; install' - "$tree/module" | tr '\n' ' ')" "ca.pem signer cert key "

# A boot whose overlay fails at first, and what it does to the machine: its mounts, its daemon.
did=
overlay_fails=yes
mount()
{
	for place; do :; done
	[ "$place" != /newroot ] || [ -z "$overlay_fails" ] || return 1
	case $*$opens in
	*fsid=i.erofs*never)
		while [ -e "$cfd_run/pid" ]; do command sleep 0.05; done
		return 1
		;;
	*fsid=i.erofs*slowly) command sleep 0.5 ;;
	*/dev/nbd7*unfit) [ "$cfd_name" != i.erofs ] || return 1 ;;
	esac
	did="$did ${place##*/}"
	case $place in */image) mounted=$* ;; esac
	kind=${*#*-t }
	echo "source $place ${kind%% *} rw 0 0" >>"$cfd_mounts"
}
umount()
{
	did="$did -${1##*/}"
	sed -i "\\# $1 #d" "$cfd_mounts"
}
# Of two only one can hold the device; this shell is the process that does.
a_daemon()
{
	case $* in
	*--prime*) did="$did prime"; return 0 ;;
	*--test*fallback.conf)
		! grep -q "url http://bad" "$cfd_run/fallback.conf"
		return
		;;
	*--test*)
		printf 'cachefilesd-mini: the configuration is good\n%s\n' "front $has_front"
		[ "$has_front" = nbd ] || return 2
		return 0
		;;
	*--get*"$right"*) return 0 ;;
	*--get*)
		grep ^url "$2" >"$cfd_run/mirrors"
		echo "$answer" >&2
		return 10
		;;
	"-f $cfd_conf --attach "*)
		[ "$waits" != yes ] || return 1
		[ "$4" != "$never" ] || return 1
		case $4 in *.verity) echo "/dev/nbd8" ;; *) echo "/dev/nbd7" ;; esac
		return 0
		;;
	esac
	did="$did start"
	[ ! -e "$cfd_run/pid" ] || return 1
	echo $$ >"$cfd_run/pid"
}
mkdir() { case $* in */run/sendsigs*) ;; *) command mkdir "$@" ;; esac; }
ln() { :; }
modprobe() { :; }
sleep()
{
	did="$did sleep$1"
	[ "$1" != 8 ] || waits=
	[ -z "$dies" ] || rm "$cfd_run/pid"
	dies=
}
cfd_keep_end() { :; }
veritysetup() { did="$did verity:$2:$4:$5"; }
cfd_ram_device() { did="$did ram" cfd_device=/dev/zram0; }
cfd_daemon=a_daemon
has_front=cachefiles
waits=
dies=
never=
answer=
right=http://right.example/i.erofs
opens=
cfd_parse "$u cachefilesd.wait=0"
cfd_boot /newroot && did="$did booted"
tell "a boot without its overlay fails" "$did" " cache -cache ram cache start prime image overlay"
tell "cachefiles mounts by the name" "$mounted" "-t erofs -o ro,fsid=i.erofs none $cfd_run/image"
did=
cfd_boot /newroot
tell "again: what is mounted and the daemon are kept" "$?$did" 1
overlay_fails=
cfd_boot /newroot
tell "at last: the root, and nothing else" "$?$did" "0 newroot"
did=
cfd_boot /newroot
tell "a boot that has succeeded is not begun again" "$?$did" 0

# boots NAME COMMAND_LINE DID MOUNTED: what a first boot does.
boots()
{
	: >"$cfd_mounts"
	rm -f "$cfd_run/pid" "$cfd_run/front"
	did=
	cfd_parse "$2" && cfd_boot /newroot
	tell "$1" "$?$did" "0$3"
	tell "$1: the image" "$mounted" "$4 $cfd_run/image"
}
boots "cachefiles with a cache on a device" "$u cachefilesd.cache=LABEL=c cachefilesd.overlay=none" \
	" cache start prime image newroot" "-t erofs -o ro,fsid=i.erofs none"
boots "squashfs needs no word of --test" root=squashfs-http:http://h/i " cache start image overlay newroot" \
	"-t squashfs -o ro /dev/nbd7"
has_front=nbd
boots "NBD: a cache in memory is a tmpfs" "$u" " cache start image overlay newroot" "-t erofs -o ro /dev/nbd7"
boots "NBD with a cache on a device" "$u cachefilesd.cache=LABEL=c" " cache start image overlay newroot" \
	"-t erofs -o ro /dev/nbd7"
boots "ext4 without its journal" root=ext4-http:http://h/i " cache start image overlay newroot" \
	"-t ext4 -o ro,noload /dev/nbd7"
boots "NBD below dm-verity" "$u cachefilesd.verity=00ff" \
	" cache start verity:/dev/nbd7:/dev/nbd8:00ff image overlay newroot" "-t erofs -o ro /dev/mapper/cachefilesd-mini"
waits=yes
boots "NBD: an image that is waited for" "$u" \
	" cache start sleep1 sleep2 sleep4 sleep8 image overlay newroot" "-t erofs -o ro /dev/nbd7"
dies=yes
waits=yes
boots "NBD: a daemon that ends while its image is waited for" "$u" \
	" cache start sleep1 start sleep2 sleep4 sleep8 image overlay newroot" "-t erofs -o ro /dev/nbd7"
waits=

# Words that the boot cannot work with.
: >"$cfd_mounts"
rm -f "$cfd_run/pid" "$cfd_run/front"
said=
cfd_parse "$u cachefilesd.control=/run/c cachefilesd.control=none" && cfd_boot /newroot
status=$?
case $said in *control=none*"leave it out") said=told ;; esac
tell "NBD without a control socket is no boot, and told" "$status$said" 1told

# A daemon that ends by the signal unless it is in use; one that watches over the first image takes its time.
in_use=
kill()
{
	case $1 in
	-*) command kill "$@" ;;
	$$) [ -n "$in_use" ] || rm "$cfd_run/pid" ;;
	*) command kill "$@" ;;
	esac
}
sleep() { command sleep 0.05; }

# bad_fallback URL: whether the boot ends before the daemon begins.
bad_fallback()
{
	: >"$cfd_mounts"
	rm -f "$cfd_run/pid" "$cfd_run/front"
	did= said=
	cfd_parse "$u cachefilesd.fallback=$1" && cfd_boot /newroot
	status=$?
}
bad_fallback http://bad:99999/old.erofs
tell "a mistake in the fallback is told at once" "$status$did $said $cfd_name" \
	"1 cache cachefilesd.fallback=http://bad:99999/old.erofs: has the mistake told above i.erofs"
bad_fallback http://good/old.erofs
tell "a good one is no more than looked at" "$status$did $cfd_name $(grep ^url "$cfd_conf")" \
	"0 cache start image overlay newroot i.erofs $n"

# A first image that cannot be opened, in any way.
f="$f cachefilesd.fallback-after=2"
old=" cache start image overlay newroot"
boots "a fallback, and a first image in time" "$u $f" "$old" "-t erofs -o ro /dev/nbd7"
tell "it is not marked" "$(ls "$cfd_run/fallback" 2>&1 | grep -c No)" 1
never=i.erofs
answer="server not trusted"
said=
boots "NBD: the fallback after a while" "$u $f" " cache start start image overlay newroot" "-t erofs -o ro /dev/nbd7"
tell "it is marked" "$(cat "$cfd_run/fallback") $cfd_name" "http://f/g/old.erofs old.erofs"
tell "it was late" "$(ls "$cfd_run/late")" "$cfd_run/late"
did=
cfd_parse "$u $f" && cfd_boot /newroot
tell "a call in another process takes it for the image" "$?$did$cfd_name$cfd_fallback" 0old.erofs
rm "$cfd_run/fallback"
answer="the image does not fit its root hash"
boots "the fallback at once, as the first does not fit" "$u $f cachefilesd.fallback-after=999 cachefilesd.roothash=$h \
cachefilesd.fallback-roothash=$h" " cache start start image overlay newroot" "-t erofs -o ro /dev/nbd7"
tell "its root hash" "$(grep roothash "$cfd_conf")" "roothash i.erofs $h
roothash old.erofs $h"
tell "one server was asked, without its mirrors" "$(cat "$cfd_run/mirrors")" ""
rm "$cfd_run/fallback"
boots "the fallback after a while, as a mirror has what fits" "$u,$right $f cachefilesd.roothash=$h \
cachefilesd.fallback-roothash=$h" " cache start start image overlay newroot" "-t erofs -o ro /dev/nbd7"
tell "that was late" "$(ls "$cfd_run/late")" "$cfd_run/late"
rm "$cfd_run/fallback"
never=
opens=unfit
boots "NBD: the fallback after a while, as what opens cannot be mounted" "$u $f" \
	" cache start start image overlay newroot" "-t erofs -o ro /dev/nbd7"
tell "it is the fallback" "$cfd_name" old.erofs
rm "$cfd_run/fallback"
has_front=cachefiles
where="cachefilesd.cache=LABEL=c cachefilesd.overlay=none"
opens=never
boots "cachefiles: a mount that waits for an OPEN ends with the daemon" "$u $f $where" \
	" cache start prime start prime image newroot" "-t erofs -o ro,fsid=old.erofs none"
rm "$cfd_run/fallback"
opens=slowly
in_use=yes
boots "cachefiles: an image that is open by then is no fallback's" "$u $f $where" " cache start prime image newroot" \
	"-t erofs -o ro,fsid=i.erofs none"
tell "nor is it marked" "$(ls "$cfd_run/fallback" 2>&1 | grep -c No)" 1
exit $failed
