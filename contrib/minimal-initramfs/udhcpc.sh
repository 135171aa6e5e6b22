#!/bin/busybox sh
# shellcheck shell=dash
# udhcpc's script: what the server has told becomes the card's, of the first card that gets a lease.
# shellcheck disable=SC2154 # interface, ip, mask, router and dns are udhcpc's
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
. "${0%/*}/cachefilesd-boot.sh"
. "${0%/*}/network.sh"
[ ! -e "$net_run/lease" ] || exit 0

ip addr flush dev "$interface"
ip addr add "$ip/${mask:-24}" dev "$interface"
# Where the server names routes, its router does not count (RFC 3442).
# shellcheck disable=SC2086 # a list of destinations and routers
set -- ${staticroutes:-${msstaticroutes-}}
if [ $# -gt 0 ]; then
	while [ $# -gt 1 ]; do
		net_route "$1" "$2" "$interface"
		shift 2
	done
else
	for gateway in $router; do
		net_route default "$gateway" "$interface" && break
	done
fi
cfd_resolve "$dns" "${search:-${domain-}}"
: >"$net_run/lease"
