#!/bin/bash
# The release and its packages. Debian's is built in a scratch folder and checked by lintian; of the
# others, whose tools are not installed here, only the syntax is checked.
set -u
cd "$(dirname "$0")/../.." || exit 1

tests=packages
. test/lib/tap.sh
version=$(sed -n 's/^VERSION := //p' Makefile)

# The value of a variable of the Makefile.
made()
{
	sed -n "s/^$1 *:= //p" Makefile
}

# Other files than the Makefile have its version, address for mail and project.
is_one_project()
{
	local author url
	author=$(made MAINTAINER) url=$(made PROJECT_URL)
	grep -m1 '^## ' CHANGELOG.md | grep -x "## $version" &&
		head -1 debian/changelog | grep -F " ($version-" &&
		grep -xF "Maintainer: $author" debian/control && grep -xF "Homepage: $url" debian/control &&
		grep -m1 '^ -- ' debian/changelog | grep -F " -- $author  " &&
		! grep -rI '\.invalid' Makefile contrib debian man CHANGELOG.md
}

# With the binary of the machine that test/cross takes too, of which musl is compiled then. A second
# release, of a copy elsewhere of what git has, has the same bytes but for that binary.
releases()
{
	local other=mips-linux-gnu
	make -s -j"$(nproc)" release CROSSES=$other || return
	cp -r build/dist "$scratch/dist"
	(cd "$scratch/dist" && sha256sum -c SHA256SUMS && ls "cachefilesd-mini-$version"-mips *.spdx *-man.tar.gz) || return
	file "$scratch/dist/cachefilesd-mini-$version-mips" | grep 'MSB exec.*, MIPS.*statically linked, stripped' || return
	git clone -qs . "$scratch/elsewhere" && make -s -C "$scratch/elsewhere" release CROSSES= &&
		! diff "$scratch/elsewhere/build/dist/SHA256SUMS" build/dist/SHA256SUMS | grep -v -- '-mips$\|^[0-9]'
}

# The tarball's own checksums are only in the copies outside of it.
packaging_is_filled()
{
	local sum sums
	tar -xf "$scratch/dist/cachefilesd-mini-$version-packaging.tar.gz" -C "$scratch" --strip-components=1 || return
	! grep -r '@[A-Z0-9_]*@' "$scratch/packaging" || return
	sum=$(sha256sum "$scratch/dist/cachefilesd-mini-$version.tar.gz")
	sums=$(cat "$scratch"/packaging/*/*)
	[ "$(grep -o "${sum%% *}" <<<"$sums" | wc -l)" -eq 3 ] &&
		grep "$(sha256sum LICENSE)" "$scratch/packaging/buildroot/cachefilesd-mini.hash" &&
		grep "^pkgver=$version" "$scratch/packaging/alpine/APKBUILD"
}

# Each package of the list has what SPDX demands of it, and each relation a package.
spdx_is_whole()
{
	local list=$scratch/dist/cachefilesd-mini-$version.spdx tag
	for tag in PackageName SPDXID PackageDownloadLocation PackageLicenseConcluded PackageCopyrightText; do
		[ "$(grep -c "^$tag: [^ ]" "$list")" -ge "$(grep -c ^PackageName "$list")" ] || { echo "$tag"; return 1; }
	done
	grep -o 'SPDXRef-[A-Za-z-]*$' "$list" | sort | uniq -c | awk '$1 < 2 && $2 != "SPDXRef-DOCUMENT" { print; wrong = 1 }
		END { exit wrong }' && [ "$(grep -c '^Relationship: .* STATIC_LINK ' "$list")" -ge 2 ] &&
		grep "^PackageVersion: $(test/source bearssl | sed 's/.*-//')\$" "$list"
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
	cp "$scratch/dist/cachefilesd-mini-$version.tar.gz" "$scratch/cachefilesd-mini_$version.orig.tar.gz"
	tar -C "$bearssl/.." --transform 's,^[^/]*,bearssl,' -czf \
		"$scratch/cachefilesd-mini_$version.orig-bearssl.tar.gz" "${bearssl##*/}" || return
	tar -C "$scratch" -xf "$scratch/dist/cachefilesd-mini-$version.tar.gz"
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
			ls usr/share/doc/cachefilesd-mini/examples/cachefilesd.conf usr/share/bash-completion/completions/cachefilesd-mini &&
			ls usr/share/initramfs-tools/hooks/cachefilesd-mini usr/share/initramfs-tools/scripts/cachefilesd-mini \
				usr/share/cachefilesd-mini/cachefilesd-boot.sh \
				usr/lib/dracut/modules.d/70cachefilesd-mini/cachefilesd-boot.sh &&
			find . -name cachefilesd-mini.service | grep . && find . -name cachefilesd-mini@.service | grep .
	)
}

alpine_parses()
{
	busybox sh -n "$scratch/packaging/alpine/APKBUILD" &&
		shellcheck -s sh -e SC2034,SC2154,SC2164 "$scratch/packaging/alpine/APKBUILD"
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

check "one version, one address and one project everywhere" is_one_project
check "make release: a tarball, a binary and the rest fit their checksums; elsewhere the same bytes" releases
check "make release: the files of packages have the tarball's checksum" packaging_is_filled
check "make release: the SPDX list is whole" spdx_is_whole
check "test/install waits for another package manager" installs_behind_another 0 "update update update install install "
check "test/install ends where apt-get cannot" installs_behind_another 100 "update update update install install "
check "Debian: dpkg-buildpackage" builds_for_debian
check "Debian: lintian finds nothing" lintian_is_silent
check "Debian: the program, manual pages, service files and what an initramfs takes are in them" has_its_files
check "Alpine: APKBUILD is a script without a mistake" alpine_parses
check "Buildroot: its files fit the tree" buildroot_fits
check "Buildroot: make reads it" makefile_parses "$scratch/packaging/buildroot/cachefilesd-mini.mk"
check "OpenWrt: make reads it" makefile_parses "$scratch/packaging/openwrt/Makefile"
exit $status
