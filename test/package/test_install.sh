#!/bin/bash
# What `make install` and its like put where, and that they agree with the program and its manual.
set -u
cd "$(dirname "$0")/../.." || exit 1

tests=install
. test/lib/tap.sh

units=contrib/systemd/cachefilesd-mini
version=$(sed -n 's/^VERSION := //p' Makefile)

# A manual page as one line.
manual()
{
	mandoc -T ascii "man/cachefilesd-mini.$1" | sed 's/.\x08//g' | tr -s '[:space:]' ' '
}

helps()
{
	local phony
	make -s help | tee "$scratch/help"
	phony=$(make -pnq help 2>/dev/null | sed -n 's/^\.PHONY: //p')
	[ "$(wc -w <<<"$phony")" -gt 20 ] &&
		diff <(tr ' ' '\n' <<<"$phony" | sort) <(awk '{ print $1 }' "$scratch/help" | sort)
}

# made TARGET...: of make, below a folder of the test.
made()
{
	make -s "$@" DESTDIR="$scratch/root" PREFIX=/usr
}

installs()
{
	made install install-systemd install-openrc install-initramfs-tools install-dracut &&
		(cd man && for page in *; do cmp "$page" "$scratch/root/usr/share/man/man${page##*.}/$page" || exit; done) &&
		installed
}

installed()
(
	cd "$scratch/root" && usr/sbin/cachefilesd-mini --version && usr/sbin/cachefilesd-mini --help >/dev/null &&
		ls usr/share/doc/cachefilesd-mini/LICENSE usr/share/bash-completion/completions/cachefilesd-mini \
			etc/cachefilesd.conf usr/lib/systemd/system/cachefilesd-mini{,@}.service etc/conf.d/cachefilesd-mini \
			usr/share/initramfs-tools/hooks/cachefilesd-mini usr/share/cachefilesd-mini/cachefilesd-boot.sh &&
		[ -x etc/init.d/cachefilesd-mini ] && [ ! -x etc/conf.d/cachefilesd-mini ] &&
		[ -x usr/lib/dracut/modules.d/70cachefilesd-mini/module-setup.sh ]
)

# Nor folders of the program's own.
uninstalls()
{
	made uninstall && ! find "$scratch/root" ! -type d -o -type d -name '*cachefilesd-mini*' | grep .
}

# Another init system's script takes the place of the one before.
installs_other_services()
{
	made install-sysvinit && cmp contrib/sysvinit/cachefilesd-mini "$scratch/root/etc/init.d/cachefilesd-mini" &&
		made install-procd && cmp contrib/procd/cachefilesd-mini.init "$scratch/root/etc/init.d/cachefilesd-mini" &&
		uninstalls
}

keeps_what_was_changed()
{
	local file
	for file in cachefilesd.conf conf.d/cachefilesd-mini; do
		install -D /dev/null "$scratch/root/etc/$file" || return
		echo "changed" >"$scratch/root/etc/$file"
	done
	made install install-openrc uninstall || return
	for file in cachefilesd.conf conf.d/cachefilesd-mini; do
		[ "$(cat "$scratch/root/etc/$file")" = changed ] || return
	done
}

names_the_place()
{
	local service
	for service in systemd openrc sysvinit procd; do
		make -s "install-$service" DESTDIR="$scratch/local" || return
		! grep -r '/usr/sbin/' "$scratch/local" && grep -r '/usr/local/sbin/' "$scratch/local" || return
		rm -r "$scratch/local"
	done
}

# Whatever PREFIX is they lie where initramfs-tools and dracut look, and name the program's place.
installs_initramfs_parts()
(
	make -s install-initramfs-tools install-dracut DESTDIR="$scratch/local" && cd "$scratch/local" || exit
	ls usr/local/share/cachefilesd-mini/cachefilesd-boot.sh && ! grep -rE '/usr/(sbin|share)/cachefilesd-mini' . &&
		grep '^copy_exec /usr/local/sbin/cachefilesd-mini /sbin$' usr/share/initramfs-tools/hooks/cachefilesd-mini &&
		grep '/usr/local/sbin/cachefilesd-mini /sbin' usr/lib/dracut/modules.d/70cachefilesd-mini/module-setup.sh &&
		[ -x usr/share/initramfs-tools/scripts/init-top/cachefilesd-mini ] &&
		make -s -C "$OLDPWD" uninstall DESTDIR="$scratch/local" && ! find . ! -type d | grep .
)

# ---- the sample of the configuration ----

# Each word once, those of the table, which are those of the manual.
sample_has_words()
{
	sed -n 's/^#\([a-z_-]\{1,\}\)\( .*\|$\)/\1/p' build/cachefilesd.conf | sort >"$scratch/words"
	diff "$scratch/words" <(sed -n '/KEYWORD_LIST(E)/,/^$/s/^\tE("\([a-z_-]*\)", .*/\1/p' daemon/conf.c | sort) &&
		diff "$scratch/words" <(sed -n 's/^\.It Ic \([a-z_-]*\).*/\1/p' man/cachefilesd-mini.conf.5 | sort -u) &&
		[ "$(wc -l <"$scratch/words")" -gt 30 ]
}

# A word's first sentence in the manual; what a mistake's message says, and a mistake is made with each.
sample_has_texts()
{
	local word takes missing=0
	grep '^# .*Whether an image may be opened from the cache when no server can be reached\.$' build/cachefilesd.conf &&
		grep -x '#cache-check cut' build/cachefilesd.conf &&
		grep -x "#user-agent cachefilesd-mini/$version" build/cachefilesd.conf || return
	while read -r word; do
		takes=$(./cachefilesd-mini --test -o "$word" http://x.example/ 2>&1 | sed -n "s/.*$word: needs //p")
		[ -z "$takes" ] || case $word in connections | timeout) ;;
		*) grep -qF "# [$takes]" build/cachefilesd.conf || { echo "$word: $takes"; missing=1; } ;; esac
	done <"$scratch/words"
	return $missing
}

sample_passes()
{
	local cache result
	cache=$(mktemp -d /dev/shm/sample-XXXXXX)
	passes "$cache"
	result=$?
	rmdir "$cache"
	return $result
}

passes()
{
	# What has neither capitals nor a choice is a default.
	sed 's/^#\([a-z_-]\{1,\} [^A-Z|]*\)$/\1/' build/cachefilesd.conf >"$scratch/defaults"
	[ "$(grep -c '^[a-z]' "$scratch/defaults")" -gt 20 ] || return
	sed -i "s,^dir .*,dir $1," "$scratch/defaults"
	for sample in build/cachefilesd.conf "$scratch/defaults"; do
		./cachefilesd-mini --test -f "$sample" -o "dir $1" -o "front nbd" http://localhost/ || return
	done
	# As it is installed it lacks a url, and nothing else.
	./cachefilesd-mini --test -f build/cachefilesd.conf 2>&1 | grep 'no url is given'
}

# ---- units and scripts ----

# The descriptors are two and three for each device, as the manual says, and there are 16 devices.
units_fit_manual()
{
	local devices files
	devices=$(manual conf.5 | sed -n 's/.*Lines add up, \([0-9]*\) at most\. A name .* A URL argument.*/\1/p')
	manual 8 | grep -o 'FDSTORE=1 with two descriptors and three for each block device' &&
		grep "^#define DEVICES_MAX *$devices\$" base/limits.h &&
		grep -x "FileDescriptorStoreMax=$((2 + 3 * devices))" $units.service || return
	files=(contrib/openrc/cachefilesd-mini.initd contrib/procd/cachefilesd-mini.init contrib/sysvinit/cachefilesd-mini
		contrib/packaging/buildroot/S45cachefilesd-mini "$units.service")
	manual 8 | grep -o 'by default /var/run/cachefilesd.pid,' &&
		manual 8 | grep -o 'The service files name the default pidfile' &&
		[ "$(grep -l '/var/run/cachefilesd\.pid' "${files[@]}" | wc -l)" -eq ${#files[@]} ]
}

# Services begin once the configuration names a url; a byte-order mark may be before it.
services_want_a_url()
{
	local pattern='^[^#a-z]*url[[:blank:]]'
	[ "$(grep -rlF "$pattern" contrib | wc -l)" -eq 5 ] && ! grep "$pattern" build/cachefilesd.conf || return
	for line in 'url http://x/' '	url	http://x/' $'\xef\xbb\xbfurl http://x/'; do
		echo "$line" | grep -q "$pattern" || return
	done
	! printf '# url http://x/\n#url http://x/\nverity url\n' | grep "$pattern"
}

# The commands of the template unit, with a stand-in for the program and for /run.
template_links()
{
	local command name=debian-12.squashfs link
	link=$scratch/run/$name
	mkdir -p "$scratch/run"
	cat >"$scratch/stub" <<-END
	#!/bin/sh
	echo "\$*" >>$scratch/calls
	[ ! -e $scratch/busy ] || exit 1
	echo /dev/nbd3
	END
	chmod 755 "$scratch/stub"
	run() {
		command=$(sed -n "s/^$1=//p" $units@.service |
			sed "s#/usr/sbin/cachefilesd-mini#$scratch/stub#g; s#/run/cachefilesd-mini.images#$scratch/run#g
				s/%i/$name/; s/\\$\\$/$/g")
		[ -n "$command" ] && eval "$command"
	}
	run ExecStart && [ "$(readlink "$link")" = /dev/nbd3 ] && touch "$scratch/busy" && ! run ExecStop && [ -L "$link" ] &&
		rm "$scratch/busy" && run ExecStop && [ ! -L "$link" ] && cat "$scratch/calls" &&
		[ "$(sort -u "$scratch/calls")" = "--attach $name"$'\n'"--detach $name" ]
}

# ---- completion ----

# completes WORD...: what bash offers for the last of the words.
completes()
{
	PATH=$PWD:$PATH bash -c '. contrib/bash-completion/cachefilesd-mini
		complete -p cachefilesd-mini | grep -q _cachefilesd_mini || exit
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		compopt() { :; }
		_cachefilesd_mini cachefilesd-mini
		printf "%s\n" "${COMPREPLY[@]}"' bash cachefilesd-mini "$@" | sort
}

completion_has_options()
{
	local all
	all=$(./cachefilesd-mini --help | grep -oE '(^|[[ ])--[a-z]+' | tr -d '[ ' | sort -u)
	[ "$(wc -l <<<"$all")" -gt 10 ] && diff <(completes -- | grep -v '^-.$') <(echo "$all") &&
		[ "$(completes --de)" = --detach ] && completes - | grep -x -- -f && [ -z "$(completes -o --)" ] &&
		[ "$(completes -f "$scratch/hel")" = "$scratch/help" ] && [ -z "$(completes https://example.org/)" ]
}

# ---- builds elsewhere ----

# Without a network and without a source that was fetched before: apt-get finds nothing.
names_bearssl()
{
	mkdir -p "$scratch/bin"
	printf '#!/bin/sh\nexit 100\n' >"$scratch/bin/apt-get"
	chmod 755 "$scratch/bin/apt-get"
	! PATH=$scratch/bin:$PATH XDG_CACHE_HOME=$scratch/none make -s OUT="$scratch/o" BINARY="$scratch/b" "$scratch/b" \
		2>"$scratch/why" && grep 'BEARSSL=FOLDER' "$scratch/why"
}

# A compiler that knows neither -Oz nor GCC's flags for the linker, such as GCC 11 and clang.
leaves_out_unknown_flags()
{
	local flags
	cat >"$scratch/cc" <<-'END'
	#!/bin/sh
	case " $* " in *" -Oz "* | *" -flto-partition="* | *" -fno-ipa-sra "*) exit 1 ;; esac
	exec cc "$@"
	END
	chmod 755 "$scratch/cc"
	flags=$(make -s CC="$scratch/cc" --eval 'show: ; @echo " $(CFLAGS) AR=$(AR) "' show)
	echo "$flags"
	[[ $flags = *" -Os "* && $flags = *" -fno-jump-tables "* && $flags = *" AR=ar "* ]] &&
		[[ $flags != *-Oz* && $flags != *-flto* && $flags != *ipa-sra* ]] || return
	flags=$(make -s --eval 'show: ; @echo " $(CFLAGS) AR=$(AR) "' show)
	[[ $flags = *" -Oz "* && $flags = *" -flto-partition=one "* ]] &&
		[[ $flags = *" -fno-ipa-sra "* && $flags = *" AR=gcc-ar "* ]] &&
		[ "$(REALGCC=gcc-13 make -s LTO=-flto --eval 'show: ; @echo $(AR)' show)" = gcc-ar-13 ]
}

# The program's own start and system calls are for musl: another C library's start is left as it is.
starts_by_the_c_library()
{
	cc -c -o "$scratch/start.o" base/x86_64.S && ! nm "$scratch/start.o" | grep . &&
		[ -z "$(make -s CC=cc --eval 'show: ; @echo $(START)' show)" ] &&
		[ "$(make -s CC=musl-gcc --eval 'show: ; @echo $(START)' show)" = "$(own_start)" ]
}

own_start()
{
	[ "$(uname -m)" != x86_64 ] || echo -nostartfiles
}

# memcmp() is ours, bcmp() the library's, and both are in one file of the GNU C library.
calls_no_bcmp()
{
	local object=$scratch/clang/image/before.o
	make -s CC=clang OUT="$scratch/clang" "$object" && nm "$object" | grep -w memcmp && ! nm "$object" | grep -w bcmp
}

# Only where WERROR= says so.
warnings_are_errors_in_tests()
{
	! env -u WERROR make -n -B OUT="$scratch/o" "$scratch/o/base/date.o" | grep -w -- -Werror &&
		make -n -B OUT="$scratch/o" WERROR=-Werror "$scratch/o/base/date.o" | grep -w -- -Werror &&
		grep -x 'export WERROR=-Werror' test/check
}

check "make help: each target, and no other" helps
check "make install and install-*, DESTDIR, PREFIX" installs
check "make uninstall leaves nothing" uninstalls
check "make install-sysvinit, install-procd, and uninstall" installs_other_services
check "a configuration that was changed is neither overwritten nor removed" keeps_what_was_changed
check "services name the program's place" names_the_place
check "parts of an initramfs lie where its tools look, whatever PREFIX is" installs_initramfs_parts
check "the sample configuration: each word once, as in the table and the manual" sample_has_words
check "the sample configuration: what values may be" sample_has_texts
check "the sample configuration passes --test, with and without its defaults" sample_passes
check "units and scripts: descriptors and pid file are the manual's" units_fit_manual
check "units and scripts: nothing starts without a url" services_want_a_url
check "the template unit links a device, and keeps the link of one in use" template_links
check "completion for bash: the options of --help" completion_has_options
check "make without a network names BEARSSL=" names_bearssl
check "flags that a compiler does not know are left out" leaves_out_unknown_flags
check "another C library starts the program by itself" starts_by_the_c_library
check "clang calls memcmp() where it is called" calls_no_bcmp
check "-Werror is the tests' own" warnings_are_errors_in_tests
exit $status
