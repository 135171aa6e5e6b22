#!/bin/busybox sh
# shellcheck shell=dash
# udhcpc's script: what the server has told becomes the interface's.
# shellcheck disable=SC2154 # interface, ip, mask, router and dns are udhcpc's
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/${mask:-24}" dev "$interface"
for gateway in $router; do
	ip route add default via "$gateway" dev "$interface" && break
done
for server in $dns; do
	echo "nameserver $server"
done >/etc/resolv.conf
