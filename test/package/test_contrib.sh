#!/bin/bash
# The files of contrib/: a unit by systemd's own checkers; the scripts of other systems, which are not
# installed here, by shell parsers and shellcheck.
set -u
cd "$(dirname "$0")/../.." || exit 1

tests=contrib
. test/lib/tap.sh

# The program is the one of this build; the rest of the units stays as it is.
units_verify()
{
	make -s install-systemd SBINDIR="$PWD" SYSTEMDDIR="$scratch/units" >"$scratch/made" &&
		systemd-analyze verify --man=no "$scratch/units/cachefilesd-mini.service" \
			"$scratch/units/cachefilesd-mini@.service" && [ ! -s "$said" ]
}

# The limit is the figure in docs/boot.md; systemd's own "OK" reaches to 5.0.
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

# It waits for most of its time.
test/boot/network_cases.sh >"$scratch/network" 2>&1 &
check "systemd-analyze verify: both units" units_verify
check "systemd-analyze security: cachefilesd-mini.service, at most 3.2" unit_is_hardened
for script in contrib/openrc/* contrib/procd/* contrib/sysvinit/* contrib/publish/erofs-publish contrib/packaging/release
do
	check "sh -n and shellcheck: ${script#contrib/}" script_parses "$script" sh
done
for script in contrib/initramfs/* contrib/minimal-initramfs/* contrib/initramfs-tools/hooks/* \
	contrib/initramfs-tools/scripts/cachefilesd-mini contrib/initramfs-tools/scripts/init-top/* \
	contrib/dracut/*/parse-* contrib/dracut/*/cachefilesd-root.sh contrib/dracut/*/cachefilesd-settled.sh
do
	check "sh -n and shellcheck: ${script#contrib/}" script_parses "$script" sh
done
for script in contrib/dracut/*/module-setup.sh contrib/bash-completion/*; do
	check "bash -n and shellcheck: ${script#contrib/}" script_parses "$script" bash
done
for shell in dash "busybox sh"; do
	$shell test/boot/boot_cases.sh "$shell" || status=1
done
wait $! || status=1
cat "$scratch/network"
exit $status
