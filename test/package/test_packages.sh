#!/bin/bash
# The release and its packages. Debian's is built in a scratch folder and checked by lintian; of the
# others, whose tools are not installed here, only the syntax is checked.
set -u
cd "$(dirname "$0")/../.." || exit 1

tests=packages
. test/lib/tap.sh
version=$(sed -n 's/^VERSION := //p' Makefile)

# All other files have the version of the Makefile.
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
	make -s dist && cp build/dist/cachefilesd-mini-"$version".tar.gz* "$scratch/" &&
		(cd "$scratch" && sha256sum -c cachefilesd-mini-"$version".tar.gz.sha256) &&
		make -s dist && cmp build/dist/cachefilesd-mini-"$version".tar.gz "$scratch"/*.tar.gz
}

# test/install with stand-ins for apt-get and its like: the locks are held once or twice, then apt-get ends with status
# $1. $2: its calls.
installs_behind_another()
{
	rm -rf "$scratch/stubs" "$scratch/calls"
	mkdir "$scratch/stubs"
	cat >"$scratch/stubs/apt-get" <<-END
	#!/bin/sh
	echo "\$2" >>$scratch/calls
	case \$2\$(grep -c "\$2" $scratch/calls) in
	update[12]) echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)" ;;
	install1) echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (dpkg)" ;;
	install*) exit $1 ;;
	*) exit 0 ;;
	esac >&2
	exit 100
	END
	printf '#!/bin/sh\nexit 1\n' >"$scratch/stubs/dpkg-query"
	printf '#!/bin/sh\necho 0\n' >"$scratch/stubs/id"
	printf '#!/bin/sh\n' >"$scratch/stubs/sleep"
	chmod 755 "$scratch"/stubs/*
	PATH=$scratch/stubs:$PATH test/install build
	[ $? -eq $((!!$1)) ] && [ "$(tr '\n' ' ' <"$scratch/calls")" = "$2" ]
}

# As a distribution builds it: with our tarball and BearSSL's.
builds_for_debian()
{
	local tree=$scratch/cachefilesd-mini-$version bearssl
	bearssl=$(test/source bearssl) || return
	cp "$scratch/cachefilesd-mini-$version.tar.gz" "$scratch/cachefilesd-mini_$version.orig.tar.gz"
	tar -C "$bearssl/.." --transform 's,^[^/]*,bearssl,' -czf \
		"$scratch/cachefilesd-mini_$version.orig-bearssl.tar.gz" "${bearssl##*/}" || return
	tar -C "$scratch" -xf "$scratch/cachefilesd-mini-$version.tar.gz"
	tar -C "$tree" -xf "$scratch/cachefilesd-mini_$version.orig-bearssl.tar.gz"
	cp -a debian "$tree/"
	(cd "$tree" && env -u MAKEFLAGS -u MAKELEVEL XDG_CACHE_HOME="$scratch/empty" dpkg-buildpackage -us -uc)
}

lintian_is_silent()
{
	lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$scratch"/*.changes
}

has_its_files()
{
	local package
	for package in "$scratch"/cachefilesd-mini*_"$version"-*.deb; do
		dpkg-deb --extract "$package" "$scratch/installed" || return
	done
	(
		cd "$scratch/installed" &&
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

# Its script is right, and the files that it installs exist.
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

# make(1) reads the file; what its system defines is empty.
makefile_parses()
{
	mkdir -p "$scratch/mk/include"
	printf 'define noop\nendef\n' >"$scratch/mk/rules.mk"
	: >"$scratch/mk/include/package.mk"
	make -n -f "$1" TOPDIR="$scratch/mk" INCLUDE_DIR="$scratch/mk/include" TAB= --eval 'nothing: ;' nothing
}

check "one version everywhere" has_one_version
check "make dist: a tarball, its checksum, the same bytes again" releases
check "test/install waits for another package manager" installs_behind_another 0 "update update update install install "
check "test/install ends where apt-get cannot" installs_behind_another 100 "update update update install install "
check "Debian: dpkg-buildpackage" builds_for_debian
check "Debian: lintian finds nothing" lintian_is_silent
check "Debian: the program, manual pages, service files and what an initramfs takes are in them" has_its_files
check "Alpine: APKBUILD is a script without a mistake" alpine_parses
check "Buildroot: its files fit the tree" buildroot_fits
check "Buildroot: make reads it" makefile_parses contrib/packaging/buildroot/cachefilesd-mini.mk
check "OpenWrt: make reads it" makefile_parses contrib/packaging/openwrt/Makefile
exit $status
