#!/bin/bash
# What lies in contrib/, by the checkers that there are: a service manager's own (systemd), shell
# parsers and shellcheck for the scripts of others, which are not here to be asked.
set -u
cd "$(dirname "$0")/../.." || exit 1

status=0
said=$(mktemp)
root=$(mktemp -d)
trap 'rm -rf "$said" "$root"' EXIT

check()
{
	local name=$1
	shift
	if "$@" >"$said" 2>&1; then
		echo "ok - contrib: $name"
	else
		sed 's/^/# /' "$said"
		echo "not ok - contrib: $name"
		status=1
	fi
}

# The unit as it is, but for the program's place: that of the build.
unit_verifies()
{
	sed "s#/usr/sbin/cachefilesd-mini#$PWD/cachefilesd-mini#" contrib/systemd/cachefilesd-mini.service \
		>"$root/cachefilesd-mini.service"
	systemd-analyze verify --man=no "$root/cachefilesd-mini.service" && [ ! -s "$said" ]
}

# The figure that the README states, or better; "OK" reaches to 5.0.
unit_is_hardened()
{
	systemd-analyze security --offline=yes --threshold=32 contrib/systemd/cachefilesd-mini.service
}

script_parses()
{
	local shells="dash -n,busybox sh -n" shell
	[ "$2" != bash ] || shells="bash -n"
	IFS=,
	for shell in $shells; do
		IFS=' '
		$shell "$1" || return
	done
	shellcheck -s "$2" -e SC1090,SC1091,SC2034 "$1"
}

check "systemd-analyze verify: cachefilesd-mini.service" unit_verifies
check "systemd-analyze security: cachefilesd-mini.service, at most 3.2" unit_is_hardened
for script in contrib/openrc/* contrib/procd/* contrib/sysvinit/*; do
	check "sh -n and shellcheck: ${script#contrib/}" script_parses "$script" sh
done
for script in contrib/initramfs/* contrib/minimal-initramfs/* contrib/initramfs-tools/hooks/* \
	contrib/initramfs-tools/scripts/cachefilesd-mini contrib/initramfs-tools/scripts/init-top/* \
	contrib/dracut/*/parse-* contrib/dracut/*/cachefilesd-root.sh contrib/dracut/*/cachefilesd-settled.sh
do
	check "sh -n and shellcheck: ${script#contrib/}" script_parses "$script" sh
done
check "bash -n and shellcheck: dracut's module-setup.sh" script_parses \
	contrib/dracut/70cachefilesd-mini/module-setup.sh bash
for shell in dash "busybox sh"; do
	$shell test/boot/boot_cases.sh "$shell" || status=1
done
exit $status
