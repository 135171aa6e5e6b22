#!/bin/busybox sh
# shellcheck shell=dash disable=SC2086
# Tests of contrib/minimal-initramfs's network, in namespaces of their own, with veth cards and busybox's DHCP server
# and client; TAP lines. test/package/test_contrib.sh runs it.
#	network_cases.sh inside		the part that runs in the namespaces
cd "$(dirname "$0")/../.." || exit 1
failed=0

tell()
{
	if [ "$2" = "$3" ]; then
		echo "ok - boot network: $1"
	else
		echo "# '$2'"
		echo "# not '$3'"
		echo "not ok - boot network: $1"
		failed=1
	fi
}

if [ "${1-}" != inside ]; then
	own="unshare -rnmupf --mount-proc --kill-child"
	$own true 2>/dev/null || { echo "ok - boot network # SKIP no namespaces here"; exit 0; }
	exec timeout 120 $own "$0" inside
fi

# The initramfs: the scripts as they lie there, and a /sys/class/net of the cards with a device.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp contrib/initramfs/cachefilesd-boot.sh contrib/minimal-initramfs/*.sh "$tree"
mkdir "$tree/sys" "$tree/bin"
for command in ip udhcpc udhcpd hostname; do
	ln -s /bin/busybox "$tree/bin/$command"
done
iproute=$(command -v ip)
PATH=$tree/bin:$PATH
cfd_resolv_conf=$tree/resolv.conf
net_sys=$tree/sys
net_run=$tree/run
net_script=$tree/udhcpc.sh
export cfd_resolv_conf
. "$tree/cachefilesd-boot.sh"
. "$tree/network.sh"
late=:
cfd_say() { said="$said $*;"; $late; }
drivers() { :; }

# A namespace for the other ends of the cables: `$there COMMAND` runs a command in it.
mkfifo "$tree/ready"
unshare -n sh -c "echo >$tree/ready; exec sleep 600" &
servers=
peer=$!
read -r _ <"$tree/ready"
there="nsenter -t $peer -n"

# card N CARRIER: the card ethN and its other end, swN.
card()
{
	"$iproute" link add "eth$1" address "52:54:00:00:00:0$1" type veth peer name "sw$1" netns "$peer"
	$there ip addr add "10.128.$1.1/24" dev "sw$1"
	$there ip link set "sw$1" up
	mkdir -p "$net_sys/eth$1"
	: >"$net_sys/eth$1/device"
	echo "$2" >"$net_sys/eth$1/carrier"
	echo "52:54:00:00:00:0$1" >"$net_sys/eth$1/address"
}

# serve N LINE...: a DHCP server at the other end of the card, for one address.
serve()
{
	sw=sw$1
	{
		printf '%s\n' "interface $sw" "start 10.128.$1.5" "end 10.128.$1.5" "pidfile $tree/$sw.pid" \
			"lease_file $tree/$sw.leases" "opt dns 192.0.2.53" "opt domain corp.example"
		shift
		printf '%s\n' "$@"
	} >"$tree/$sw.conf"
	: >"$tree/$sw.leases"
	$there udhcpd -f "$tree/$sw.conf" >/dev/null 2>&1 &
	servers="$servers $!"
}

# New cards, no servers, no addresses: for each of the words a card with this carrier.
begin()
{
	for server in $servers; do
		kill "$server"
	done
	servers=
	rm -rf "$net_sys" "$net_run" "$cfd_resolv_conf"
	for n in 0 1; do
		ip link del "eth$n" 2>/dev/null
	done
	n=0
	for carrier; do
		card $n "$carrier"
		n=$((n + 1))
	done
	said=
}

addresses() { ip -o addr show scope global | sed 's/.*: \([^ ]*\) *inet6* \([^ ]*\) .*/\1 \2/'; }
routes() { ip route | grep -v 'src' | sed 's/ *$//'; }

begin 1 1
serve 1 "opt subnet 255.255.255.0" "opt router 10.128.1.1"
net_up quiet
tell "two cards with a link, DHCP on the second" "$?, $(addresses), $(routes), $(cat "$cfd_resolv_conf")" \
	"0, eth1 10.128.1.5/24, default via 10.128.1.1 dev eth1, nameserver 192.0.2.53
search corp.example"
ip addr del 10.128.1.5/24 dev eth1
net_up quiet
tell "again: the network is up" "$?, $(addresses)" "0, "

begin 1
serve 0 "opt subnet 255.255.255.255" "opt router 10.128.0.1" "opt search corp.example lan.example"
net_up ip=dhcp
tell "a lease with the mask 255.255.255.255" "$?, $(addresses), $(routes), $(cat "$cfd_resolv_conf")" \
	"0, eth0 10.128.0.5/32, default via 10.128.0.1 dev eth0
10.128.0.1 dev eth0 scope link, nameserver 192.0.2.53
search corp.example lan.example"

begin 1 1
serve 0 "opt subnet 255.255.255.0" "opt router 10.128.0.1"
serve 1 "opt subnet 255.255.255.0" "opt router 10.128.1.9" \
	"opt staticroutes 10.128.3.1/32 0.0.0.0, 10.9.0.0/16 10.128.3.1, 0.0.0.0/0 10.128.1.1"
net_up "BOOTIF=01-52-54-00-00-00-01 nameserver=[2001:db8::53]"
tell "BOOTIF= chooses a card; the server's own routes" "$?, $(addresses), $(routes), $(cat "$cfd_resolv_conf")" \
	"0, eth1 10.128.1.5/24, default via 10.128.1.1 dev eth1
10.9.0.0/16 via 10.128.3.1 dev eth1
10.128.3.1 dev eth1 scope link, nameserver 2001:db8::53
nameserver 192.0.2.53
search corp.example"

# The link comes when the initramfs says that it waits for it, the server when a request was sent.
begin 0 0
link_comes() { late=:; echo 1 >"$net_sys/eth1/carrier"; }
late=link_comes
drivers()
{
	[ -e "$net_run/eth1.pid" ] || return
	serve 1 "opt subnet 255.255.255.0"
	drivers() { :; }
}
net_up ip=eth1:dhcp:1400
tell "a link and a DHCP server that are late" \
	"$?, $(addresses), $(ip link show eth1 | grep -o 'mtu [0-9]*'),$said" \
	"0, eth1 10.128.1.5/24, mtu 1400, waiting for the link of eth1;"

begin 1 1
net_up "ip=10.128.1.7:10.128.1.2:10.128.1.1:255.255.255.0:a-host:eth1:none:192.0.2.7:192.0.2.8"
tell "an address, as the kernel has it" "$?, $(addresses), $(routes), $(hostname), $(cat "$cfd_resolv_conf")" \
	"0, eth1 10.128.1.7/24, default via 10.128.1.1 dev eth1, a-host, nameserver 192.0.2.7
nameserver 192.0.2.8"
rm -r "$net_run"
net_up ip=dhcp
tell "what has an address already, as of the kernel" "$?, $(addresses)" "0, eth1 10.128.1.7/24"

begin 1 1
net_up "ip=[2001:db8::7]::[2001:db8::1]:64::eth0:off ip=10.0.0.7:::::eth1"
tell "addresses of two cards" "$?, $(addresses), $(ip -6 route | grep -o 'default via [^ ]* dev eth0')" \
	"0, eth0 2001:db8::7/64
eth1 10.0.0.7/8, default via 2001:db8::1 dev eth0"

begin 1
cat >"$tree/advertise.py" <<'END'
import socket, struct, time
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xc0, 3600, 3600, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:1::"))
while True:
    try:
        s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix, ("ff02::1%sw0", 0))
    except OSError:
        pass        # its own address is not ready yet
    time.sleep(0.2)
END
$there python3 "$tree/advertise.py" &
servers="$servers $!"
net_up ip=auto6
tell "IPv6 by router advertisements" "$?, $(addresses), $(ip -6 route | grep -o 'default via fe80')" \
	"0, eth0 2001:db8:1:0:5054:ff:fe00:0/64, default via fe80"

# word WORD WHAT: how it is understood, without doing it.
for way in dhcp auto6 static; do
	eval "net_$way() { got=\"\${got}$way \$net_device|\$net_address|\$net_mask|\$net_gateway|\$net_mtu|\$net_servers;\"; }"
done
word()
{
	begin 1
	got=
	net_up "$1" || got="$got$said"
	tell "${1:-no word}" "$got" "$2"
}
word "" "dhcp |||||;"
word "ip=on" "dhcp |||||;"
word "ip=none" "dhcp |||||;"
word "ip=:::::eth1:dhcp" "dhcp eth1|||||;"
word "ip=eth1:auto6" "auto6 eth1|||||;"
word "ip=192.0.2.7" "static |192.0.2.7||||;"
word "ip=192.0.2.7::192.0.2.1:24::eth0:off:9000" "static eth0|192.0.2.7|24|192.0.2.1|9000|;"
word "ip=192.0.2.7::192.0.2.1:24::eth0:off:[2001:db8::1]:192.0.2.2:192.0.2.3" \
	"static eth0|192.0.2.7|24|192.0.2.1||2001:db8::1 192.0.2.2;"
word "ip=eth0:dhcp ip=eth1:dhcp -- ip=eth2:dhcp" "dhcp eth0|||||;dhcp eth1|||||;"
for word in ip=dhcp6 ip=eth0:ibft ip=eth0:dhcp::52:54:00:12:34:56; do
	word "$word" " $word: is wrong, or not for this initramfs, which knows dhcp, auto6 and addresses;"
done
exit $failed
