#!/bin/bash
# The release and the packages made of it: Debian's is built in a scratch folder and looked at by
# lintian; of the others, whose tools are not here, the syntax is checked.
set -u
cd "$(dirname "$0")/../.." || exit 1

status=0
said=$(mktemp)
root=$(mktemp -d)
trap 'rm -rf "$said" "$root"' EXIT
version=$(sed -n 's/^VERSION := //p' Makefile)

check()
{
	local name=$1
	shift
	if "$@" >"$said" 2>&1; then
		echo "ok - packages: $name"
	else
		tail -40 "$said" | sed 's/^/# /'
		echo "not ok - packages: $name"
		status=1
	fi
}

# The Makefile's is the one; the others have to follow.
has_one_version()
{
	grep -m1 '^## ' CHANGELOG.md | grep -x "## $version" &&
		head -1 debian/changelog | grep -F " ($version-" &&
		grep -x "pkgver=$version" contrib/packaging/alpine/APKBUILD &&
		grep -x "CACHEFILESD_MINI_VERSION = $version" contrib/packaging/buildroot/cachefilesd-mini.mk &&
		grep -x "PKG_VERSION:=$version" contrib/packaging/openwrt/Makefile
}

releases()
{
	make -s dist && cp build/dist/cachefilesd-mini-"$version".tar.gz* "$root/" &&
		(cd "$root" && sha256sum -c cachefilesd-mini-"$version".tar.gz.sha256) &&
		make -s dist && cmp build/dist/cachefilesd-mini-"$version".tar.gz "$root"/*.tar.gz
}

# dpkg-buildpackage as a distribution runs it, with our tarball and BearSSL's.
builds_for_debian()
{
	local tree=$root/cachefilesd-mini-$version bearssl
	bearssl=$(test/source bearssl) || return
	cp "$root/cachefilesd-mini-$version.tar.gz" "$root/cachefilesd-mini_$version.orig.tar.gz"
	tar -C "$bearssl/.." --transform 's,^[^/]*,bearssl,' -czf \
		"$root/cachefilesd-mini_$version.orig-bearssl.tar.gz" "${bearssl##*/}" || return
	tar -C "$root" -xf "$root/cachefilesd-mini-$version.tar.gz"
	tar -C "$tree" -xf "$root/cachefilesd-mini_$version.orig-bearssl.tar.gz"
	cp -a debian "$tree/"
	(cd "$tree" && env -u MAKEFLAGS -u MAKELEVEL XDG_CACHE_HOME="$root/empty" dpkg-buildpackage -us -uc)
}

lintian_is_silent()
{
	lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$root"/*.changes
}

has_its_files()
{
	local package
	for package in "$root"/cachefilesd-mini*_"$version"-*.deb; do
		dpkg-deb --extract "$package" "$root/installed" || return
	done
	(
		cd "$root/installed" &&
			usr/sbin/cachefilesd-mini --version | grep -x "cachefilesd-mini $version" &&
			ls usr/share/man/man8/cachefilesd-mini.8.gz usr/share/man/man5/cachefilesd-mini.conf.5.gz \
				usr/share/man/man7/cachefilesd-mini.cmdline.7.gz etc/init.d/cachefilesd-mini &&
			ls usr/share/initramfs-tools/hooks/cachefilesd-mini usr/share/initramfs-tools/scripts/cachefilesd-mini \
				usr/share/cachefilesd-mini/cachefilesd-boot.sh \
				usr/lib/dracut/modules.d/70cachefilesd-mini/cachefilesd-boot.sh &&
			find . -name cachefilesd-mini.service | grep .
	)
}

alpine_parses()
{
	busybox sh -n contrib/packaging/alpine/APKBUILD &&
		shellcheck -s sh -e SC2034,SC2154,SC2164 contrib/packaging/alpine/APKBUILD
}

# The variables that it hands to make are those that our Makefile knows; what it installs is there.
buildroot_fits()
{
	busybox sh -n contrib/packaging/buildroot/S45cachefilesd-mini &&
		shellcheck -s sh contrib/packaging/buildroot/S45cachefilesd-mini || return
	(cd contrib/packaging && names_our_files buildroot/cachefilesd-mini.mk openwrt/Makefile)
}

names_our_files()
{
	local file missing=0
	for file in $(grep -oh 'contrib/[a-z]*/[A-Za-z0-9.-]*' "$@"); do
		[ -e "../../$file" ] || { echo "$file"; missing=1; }
	done
	return $missing
}

# make itself reads both, with what their systems define left empty.
makefile_parses()
{
	mkdir -p "$root/mk/include"
	printf 'define noop\nendef\n' >"$root/mk/rules.mk"
	: >"$root/mk/include/package.mk"
	make -n -f "$1" TOPDIR="$root/mk" INCLUDE_DIR="$root/mk/include" TAB= --eval 'nothing: ;' nothing
}

check "one version everywhere" has_one_version
check "make dist: a tarball, its checksum, the same bytes again" releases
check "Debian: dpkg-buildpackage" builds_for_debian
check "Debian: lintian finds nothing" lintian_is_silent
check "Debian: the program, manual pages, service files and what an initramfs takes are in them" has_its_files
check "Alpine: APKBUILD is a script without a mistake" alpine_parses
check "Buildroot: its files fit the tree" buildroot_fits
check "Buildroot: make reads it" makefile_parses contrib/packaging/buildroot/cachefilesd-mini.mk
check "OpenWrt: make reads it" makefile_parses contrib/packaging/openwrt/Makefile
exit $status
