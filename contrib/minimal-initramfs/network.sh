# shellcheck shell=dash
# network.sh - the network of a hand-made initramfs, by the words ip=, nameserver= and BOOTIF= of the kernel's
# command line, as the kernel and dracut have them. Sourced behind cachefilesd-boot.sh, by init and by udhcpc's
# script; its functions and variables begin with net_.
#
#	net_up LINE	waits until there is one; false: a word is wrong, told
#
# init has a function drivers for cards that appear meanwhile.

net_sys=${net_sys-/sys/class/net}
# In this folder: `up`, `lease` once a card has got one, and for each card the process that asks there.
net_run=${net_run-/run/network}
net_script=${net_script-/udhcpc.sh}
export net_run

# A route to $1 by the router $2 on the card $3. A router outside the card's own network, as behind the
# mask 255.255.255.255, has to be named as a neighbour first.
net_route()
{
	net_family=-4
	case $2 in
	*:*) net_family=-6 ;;
	0.0.0.0) ip route add "$1" dev "$3"; return ;;
	esac
	ip $net_family route add "$1" via "$2" dev "$3" 2>/dev/null && return
	ip $net_family route add "$2" dev "$3"
	ip $net_family route add "$1" via "$2" dev "$3"
}

# ---- waiting ----

# The cards with a link in $net_cards: the one that ip= or BOOTIF= names, or all.
net_find_cards()
{
	net_cards=
	for net_at in "$net_sys"/*; do
		net_card=${net_at##*/}
		if [ -n "$net_device" ]; then
			[ "$net_card" = "$net_device" ] || continue
		else
			[ -e "$net_at/device" ] || continue
			read -r net_card_mac <"$net_at/address"
			[ "${net_mac:-$net_card_mac}" = "$net_card_mac" ] || continue
		fi
		# shellcheck disable=SC2086 # two words or none
		ip link set "$net_card" ${net_mtu:+mtu $net_mtu} up
		{ read -r net_carrier <"$net_at/carrier"; } 2>/dev/null && [ "$net_carrier" = 1 ] &&
			net_cards="$net_cards $net_card"
	done
}

# Waits until `$1` is true, and says for what: $2.
net_wait()
{
	net_waited=0
	while net_find_cards; ! "$1"; do
		if [ $((net_waited % 10)) -ne 2 ]; then
			:
		elif [ -n "$net_cards" ]; then
			cfd_say "waiting for $2 on$net_cards"
		else
			net_card=${net_mac:+the network card $net_mac}
			cfd_say "waiting for the link of ${net_device:-${net_card:-a network card}}"
		fi
		sleep 1
		net_waited=$((net_waited + 1))
		drivers
	done
}

net_has_link()
{
	[ -n "$net_cards" ]
}

# Asks on each card with a link at once: DHCP may be on any of them.
net_has_lease()
{
	[ ! -e "$net_run/lease" ] || return 0
	for net_card in $net_cards; do
		cfd_runs "$net_run/$net_card.pid" && continue
		# Also the search list, and routes by their two numbers.
		udhcpc -f -n -q -t 5 -O 119 -O 121 -O 249 -i "$net_card" -s "$net_script" >/dev/null 2>&1 &
		echo $! >"$net_run/$net_card.pid"
	done
	return 1
}

# While the kernel looks for another machine with the same address, that cannot be used.
net_has_address6()
{
	for net_card in $net_cards; do
		! ip -6 -o addr show dev "$net_card" scope global | grep -qv tentative || return 0
	done
	return 1
}

# ---- ways to an address ----

net_dhcp()
{
	rm -f "$net_run/lease"
	net_wait net_has_lease DHCP
	for net_at in "$net_run"/*.pid; do
		read -r net_pid <"$net_at" && kill "$net_pid" 2>/dev/null
	done
	rm -f "$net_run"/*.pid
}

# The kernel takes an address and a router from router advertisements by itself.
net_auto6()
{
	net_wait net_has_address6 "a router advertisement"
}

# Without a mask that of the address's class, as the kernel has it.
net_static()
{
	case $net_mask$net_address in
	*:*) net_mask=${net_mask:-64} ;;
	[0-9].* | [0-9][0-9].* | 1[01]?.* | 12[0-7].*) net_mask=${net_mask:-8} ;;
	12[89].* | 1[3-8]?.* | 19[01].*) net_mask=${net_mask:-16} ;;
	*) net_mask=${net_mask:-24} ;;
	esac
	net_wait net_has_link
	net_card=${net_cards# }
	net_card=${net_card%% *}
	ip addr add "$net_address/$net_mask" dev "$net_card" &&
		{ [ -z "$net_gateway" ] || net_route default "$net_gateway" "$net_card"; }
}

# ---- the words ----

# Those that hold for all cards: name servers; the card that the machine was booted by, as
# 01-52-54-00-12-34-56 with the kind of network in front, or without.
net_take()
{
	case $1 in
	nameserver=*)
		net_field=${1#*=\[}
		net_field=${net_field#nameserver=}
		cfd_resolve "${net_field%\]}" ""
		;;
	BOOTIF=*)
		net_mac=$(echo "${1#*=}" | tr A-F- a-f:)
		[ ${#net_mac} -ne 20 ] || net_mac=${net_mac#???}
		;;
	esac
}

# The next of $net_fields, which colons part, in $net_field. An address of IPv6 stands in brackets.
net_next()
{
	case $net_fields in
	\[*\]*)
		net_field=${net_fields%%\]*}
		net_field=${net_field#\[}
		net_fields=${net_fields#*\]}
		;;
	*)
		net_field=${net_fields%%:*}
		net_fields=${net_fields#"$net_field"}
		;;
	esac
	net_fields=${net_fields#:}
}

# The fields of an ip=: WAY, CARD:WAY or ADDRESS:SERVER:ROUTER:MASK:HOST:CARD:WAY; behind the long ones MTU,
# or name servers.
net_parse()
{
	net_fields=$1
	net_device=
	net_address=
	net_gateway=
	net_mask=
	net_host=
	net_mtu=
	case $1 in
	:* | \[* | [0-9]*.*.*.*)
		net_next; net_address=$net_field
		net_next
		net_next; net_gateway=$net_field
		net_next; net_mask=$net_field
		net_next; net_host=$net_field
		net_next; net_device=$net_field
		;;
	*:*) net_next; net_device=$net_field ;;
	esac
	net_next; net_way=$net_field
	net_next; net_servers=
	case $net_field in
	*[.:]*)
		net_servers=$net_field
		net_next; net_servers="$net_servers $net_field"
		;;
	*)
		net_mtu=$net_field
		# dracut's form goes on with a MAC address for the card.
		case $net_fields in *[!:]*) net_way=mac ;; esac
		;;
	esac
}

net_take_ip()
{
	case $1 in ip=*) net_parse "${1#ip=}" ;; *) return ;; esac
	case ${net_way:-${net_address:+none}} in
	'' | dhcp | single-dhcp | on | any | both) net_way=net_dhcp ;;
	auto6) net_way=net_auto6 ;;
	none | off | static)
		# It forbids something to the kernel.
		[ -n "$net_address" ] || return
		net_way=net_static
		;;
	*) net_way=false ;;
	esac
	net_done=yes
	[ -z "$net_host" ] || hostname "$net_host"
	if "$net_way"; then
		cfd_resolve "$net_servers" ""
	else
		cfd_say "$1: is wrong, or not for this initramfs, which knows dhcp, auto6 and addresses"
		net_wrong=yes
	fi
}

net_up()
{
	[ ! -e "$net_run/up" ] || return 0
	mkdir -p "$net_run"
	net_mac=
	net_done=
	net_wrong=
	cfd_each_word "$1" net_take
	# The kernel may have taken the words itself.
	if [ -z "$(ip -4 -o addr show scope global)" ]; then
		cfd_each_word "$1" net_take_ip
		[ -n "$net_done" ] || net_take_ip ip=dhcp
	fi
	[ -z "$net_wrong" ] && : >"$net_run/up"
}
