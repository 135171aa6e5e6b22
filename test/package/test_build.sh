#!/bin/bash
# What the README and docs/design.md promise of the binary and its build.
set -u
cd "$(dirname "$0")/../.." || exit 1

tests=build
. test/lib/tap.sh

has_no_allocator()
{
	! nm build/cachefilesd-mini.full | grep -E ' (malloc|calloc|realloc|free|aligned_alloc|brk|sbrk)$'
}

has_no_cbc()
{
	! nm build/cachefilesd-mini.full | grep -E 'cbc(dec|enc)|cbc_vtable|br_des'
}

# Those of BearSSL's that trust/ciphers.c stands in for.
has_no_slow_ciphers()
{
	! nm build/cachefilesd-mini.full | grep -E 'chacha20_(sse2|ct)|poly1305_ctmul|x86ni_|ghash_pclmul'
}

# format.c's printf family knows only what it says there: not these conversions and sizes, no
# precision of integers, no other flags.
has_no_foreign_format()
{
	! grep -nE '"[^"]*%[-0-9.*]*((hh?|[jtLq])[diouxX]|l{0,2}[aAeEfFgGinoXpCS]|\.[0-9*]+[lz]*[dux]|[+#])' \
		./*.c ./[a-z]*/*.c | grep -v '%%[aAeEfFgGinoXpCS]'
}

# Something of stdio.h that format.c has not replaced, such as fprintf() and puts().
has_no_stdio()
{
	! nm build/cachefilesd-mini.full | grep -E ' (vfprintf|fmt_fp|printf_core|__stdio_write)$'
}

# Where the program starts by itself (base/x86_64.S) nothing may need what the C library's start
# prepares, such as the thread's own words.
needs_no_library_start()
{
	! objdump -d build/cachefilesd-mini.full | grep -m1 '%fs:' &&
		! nm build/cachefilesd-mini.full | grep -E ' (__libc|__init_tls|__stdio_exit)$'
}

# Whoever's compiler guards the stack gets guards that work.
starts_with_guards()
{
	local root result
	root=$(mktemp -d)
	make -s OUT="$root" BINARY="$root/guarded" CFLAGS="-Os -fstack-protector-strong" ARCHIVE=build/libbearssl.a \
		"$root/guarded" >/dev/null && "$root/guarded" --version && objdump -d "$root/cachefilesd-mini.full" | grep -m1 '%fs:'
	result=$?
	rm -r "$root"
	return $result
}

is_small()
{
	ls -l cachefilesd-mini
	[ "$(stat -c %s cachefilesd-mini)" -le 278528 ]
}

compiles_with_clang()
{
	local inc=$1 source
	for source in *.c [a-z]*/*.c; do
		clang -std=c11 -D_GNU_SOURCE -DVERSION='"0"' -DBUILD_TIME=0 -Wall -Wextra -Werror -I. -I"$inc" \
			-fsyntax-only "$source" || return 1
	done
}

# Copies of the tree in folders of different names and lengths, of other inodes and times.
is_reproducible()
{
	local root one copy
	root=$(mktemp -d)
	for copy in a another-folder; do
		mkdir "$root/$copy"
		git ls-files -z | xargs -0 cp --parents -t "$root/$copy"
		[ ! -d .git ] || one=$(git log -1 --format=%ct)
		make -s -C "$root/$copy" -j"$(nproc)" SOURCE_DATE_EPOCH="${one:-1}" \
			cachefilesd-mini >/dev/null || return
	done
	cmp "$root/a/cachefilesd-mini" "$root/another-folder/cachefilesd-mini"
	local result=$?
	rm -r "$root"
	return $result
}

# The manual pages other than ours that they point to need not be installed.
manuals_are_clean()
{
	! mandoc -T lint -W style man/* 2>/dev/null | grep -v 'referenced manual not found'
}

# No file includes one of a later room, in the row of the Makefile's ROOMS with tls.c and http.c
# behind net.
knows_only_rooms_before()
{
	local room own='' later=cachefilesd-mini wrong=0 files
	for room in $(sed -n '/^ROOMS/{s/.*:= *//; s/ net / net tls http /p}' Makefile | tr ' ' '\n' | tac); do
		own=$room/ files=("$room"/*.[ch])
		[ -d "$room" ] || own="$room\.h" files=("$room".[ch])
		! grep -E "^#include \"($later)" "${files[@]}" || wrong=1
		later="$later|$own"
	done
	[ "$own" = base/ ] && [ $wrong -eq 0 ]
}

# No module includes itself by way of others: tsort finds loops.
modules_form_no_circle()
{
	local includes
	includes=$(for file in *.[ch] */*.[ch]; do
		sed -n "s|^#include \"\(.*\)\.h\"\$|${file%.*} \1|p" "$file"
	done | awk '$1 != $2')
	[ "$(echo "$includes" | wc -l)" -gt 100 ] && ! echo "$includes" | tsort 2>&1 >/dev/null | grep .
}

# Each word of conf.c's table.
manual_has_words()
{
	local word words missing=0
	words=$(sed -n '/KEYWORD_LIST(E)/,/^$/s/^\tE("\([a-z_-]*\)", .*/\1/p' daemon/conf.c)
	[ "$(echo "$words" | wc -l)" -gt 30 ] || { echo "the table is not found"; return 1; }
	for word in $words; do
		grep -q "^\.It Ic $word\( \|$\)" man/cachefilesd-mini.conf.5 || { echo "$word"; missing=1; }
	done
	return $missing
}

# Each option of the list in --help, and each exit status of --get.
manual_has_options()
{
	local option options found missing=0
	options=$(./cachefilesd-mini --help | sed -n 's/^ \{2,6\}\(-[^ ]*\) .*/\1/p; s/^  -., \(-[^ ]*\) .*/\1/p')
	[ "$(echo "$options" | wc -w)" -gt 10 ] || { echo "the list is not found"; return 1; }
	for option in $options; do
		option=${option%,}
		grep -qE "^\.It Fl (. , )?${option#-}( |$)" man/cachefilesd-mini.8 || { echo "$option"; missing=1; }
	done
	found=$(./cachefilesd-mini --help | sed -n '$s/.*also: //p' | sed 's/, /\n/g' |
		while read -r status words; do
			grep -A1 "^\.It $status$" man/cachefilesd-mini.8 | grep -x "$words"
		done | wc -l)
	echo "$found exit statuses"
	[ "$found" -eq $(($(grep -cE '^\.It [0-9]+$' man/cachefilesd-mini.8) - 5)) ] || missing=1 # 0 to 3, 14
	return $missing
}

# LoongArch has neither fstat() nor newfstatat() in its first headers, and no compiler of ours is for it.
compiles_without_stat()
{
	printf '#include <sys/syscall.h>\n#undef SYS_%s\n#undef SYS_%s\n#undef SYS_%s\n' fstat newfstatat fork |
		cat - base/calls.c | ${CC:-cc} -std=gnu11 -I. -Wall -Wextra -Werror -fsyntax-only -x c -
}

# musl has them from 1.2.3 on.
compiles_without_holes()
{
	{
		printf '#include <%s.h>\n' fcntl stdio unistd
		printf '#undef %s\n' SEEK_DATA SEEK_HOLE
		cat kernel/store.c
	} |
		${CC:-cc} -std=gnu11 -D_GNU_SOURCE -I. -I"$1" -Wall -Wextra -Werror -fsyntax-only -x c -
}

# Of the programs that make needs there is only the shell.
names_missing_compiler()
{
	mkdir -p "$scratch/shell" && ln -sf /bin/sh "$scratch/shell/sh"
	! PATH=$scratch/shell "$(command -v make)" -n -B build/base/base64.o 2>"$scratch/missing" &&
		cat "$scratch/missing" && grep -q "musl-gcc is missing:.*test/install build" "$scratch/missing"
}

exits_with()
{
	local expected=$1
	shift
	"$@"
	local got=$?
	echo "exit status $got"
	[ "$got" -eq "$expected" ]
}

inc=$(test/source bearssl 2>/dev/null)/inc
make -s size | sed 's/^/# /'
check "file(1) says statically linked" sh -c 'file cachefilesd-mini | grep "statically linked"'
check "ldd(1) says not a dynamic executable" sh -c 'ldd cachefilesd-mini 2>&1 | grep "not a dynamic executable"'
check "the binary is stripped" sh -c 'file cachefilesd-mini | grep -q ", stripped"'
check "at most 272 KiB" is_small
check "no formats that format.c does not know" has_no_foreign_format
check "format.c is the only formatter and printer" has_no_stdio
check "no allocator is in the binary" has_no_allocator
check "no CBC cipher is in the binary" has_no_cbc
check "no cipher slower than ours is in the binary" has_no_slow_ciphers
check "nothing needs the C library's start" needs_no_library_start
check "with guards on the stack it starts too" starts_with_guards
check "clang finds nothing" compiles_with_clang "$inc"
check "calls.c compiles where there are no old system calls of stat()" compiles_without_stat
check "store.c compiles where unistd.h knows of no holes" compiles_without_holes "$inc"
check "make without musl-gcc names what installs it" names_missing_compiler
check "knowledge points one way" knows_only_rooms_before
check "modules form no circle" modules_form_no_circle
check "two builds in different folders give the same bytes" is_reproducible
check "manual pages: mandoc finds nothing" manuals_are_clean
check "manual pages: every configuration word" manual_has_words
check "manual pages: every option and exit status" manual_has_options
check "--help: status 0" exits_with 0 ./cachefilesd-mini --help
check "--version: status 0" exits_with 0 ./cachefilesd-mini --version
check "an unknown option: status 2" exits_with 2 ./cachefilesd-mini -x
check "no configuration: status 2" exits_with 2 ./cachefilesd-mini -f /nonexistent
check "a bad directive: status 2" exits_with 2 ./cachefilesd-mini -o 'brun 7' http://localhost/
check "no /dev/cachefiles: status 1" exits_with 1 ./cachefilesd-mini -n -s http://localhost/
exit $status
