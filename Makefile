# cachefilesd-mini: `make` builds one static binary from musl and BearSSL, and nothing else.
#
# A packager's variables:
#   CC CFLAGS CPPFLAGS LDFLAGS    the target's compiler (default: musl-gcc) and flags
#   CROSS                         a triplet such as aarch64-linux-gnu: the binary is built for it, with
#                                 musl from its source (test/musl), in build/TRIPLET
#   BEARSSL                       a BearSSL source tree; by default Debian's source package is
#                                 fetched once into the user's cache directory (test/source)
#   BEARSSL_LIB BEARSSL_INC       a compiled libbearssl.a and its headers, instead of a tree
#   DESTDIR PREFIX SBINDIR MANDIR where `make install` puts the binary and the manual pages
#   SOURCE_DATE_EPOCH             the build's date: certificates are never judged by an earlier one

# Those of the flags $1 that the compiler knows, which is asked for each only if it does not know all.
known = $(shell know() { echo 'int x;' | $(CC) -Werror "$$@" -x c -c -o /dev/null - 2>/dev/null; }; \
	if know $1; then echo '$1'; else for flag in $1; do ! know $$flag || echo $$flag; done; fi)

# In one partition the linker's compiler sees all: that is slower, and makes the file smaller.
LTO     = $(eval LTO := $$(if $$(call known,-flto-partition=one),-flto=auto -flto-partition=one))$(LTO)
CFLAGS  = $(eval CFLAGS := $$(or $$(call known,-Oz),-Os) $$(LTO) $$(SMALLER) \
	  $$(call known,-fno-jump-tables -fno-tree-switch-conversion -fno-inline-functions-called-once \
	  -malign-data=abi))$(CFLAGS)
# These passes copy code or need registers even at -Oz. What has to be fast keeps them.
SMALLER = $(eval SMALLER := $$(call known,-fno-thread-jumps -fno-caller-saves -fno-tree-dominator-opts \
	  -fno-move-loop-invariants -fno-tree-loop-im -fno-shrink-wrap -fno-ipa-sra))$(SMALLER)
FASTER  = -O2 $(patsubst -fno-%,-f%,$(filter $(SMALLER),$(CFLAGS)))
# On x86-64 the start of the program is our own (base/x86_64.S).
START   = $(shell $(CC) -E -P base/x86_64.S | grep -qw _start && echo -nostartfiles)
# In the file the data follows the code at once, not at the next page.
LDFLAGS = -Wl,-O1 -Wl,-z,noseparate-code,-z,common-page-size=64 -Wl,--build-id=none -Wl,-z,norelro
PREFIX  = /usr/local
SBINDIR = $(PREFIX)/sbin
MANDIR  = $(PREFIX)/share/man
HOSTCC  = gcc

ifdef CROSS
# Looked up when the first object needs it.
MUSL    = $(eval MUSL := $$(shell test/musl $(CROSS)))$(or $(MUSL),$(error no musl for $(CROSS), see above))
CC      = $(MUSL)/bin/musl-gcc
OUT    := build/$(CROSS)
BINARY := $(OUT)/cachefilesd-mini
else
CC      = musl-gcc
OUT    := build
BINARY := cachefilesd-mini
endif
# Looked up when the first object needs it.
MACHINE = $(eval MACHINE := $$(shell $$(CC) -dumpmachine))$(MACHINE)
# GCC's own ar knows objects of -flto.
AR      = $(CROSS:%=%-)$(if $(LTO),gcc-)ar$(if $(LTO),$(NUMBER))
# That of a compiler gcc-13, or of musl-gcc's REALGCC=gcc-13.
NUMBER  = $(patsubst gcc%,%,$(filter gcc-%,$(notdir $(lastword $(CC) $(REALGCC)))))
OBJCOPY = $(CROSS:%=%-)objcopy

VERSION := 0.1
BUILD_TIME := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile))

# Each room uses only those before it; http.c and tls.c stand between net and daemon.
ROOMS   := base trust net daemon image fetch kernel tools
MODULES := $(basename $(sort $(wildcard *.c $(ROOMS:%=%/*.c))))
OBJECTS := $(MODULES:%=$(OUT)/%.o) $(OUT)/base/x86_64.o
WARN    := -std=c11 -Wall -Wextra $(WERROR)
DEFINES := -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -DBUILD_TIME=$(BUILD_TIME)
# The program is linked to a fixed address: code that could lie anywhere would only be larger, and
# its tables of addresses would have to be writable. clang would call bcmp() in place of memcmp(),
# which is ours.
SMALL   := -fno-builtin-bcmp -ffunction-sections -fdata-sections -fomit-frame-pointer -fno-pie \
	   -fno-asynchronous-unwind-tables -fno-unwind-tables
SANITIZE := -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all

ifdef BEARSSL_LIB
BEARSSL_INC ?= /usr/include/bearssl
ARCHIVE := $(BEARSSL_LIB)
else
# Looked up when the first object needs it, and only if it is not given.
BEARSSL = $(eval BEARSSL := $$(shell test/source bearssl))$(or $(BEARSSL),$(error \
	BearSSL's source is missing, see above. BEARSSL=FOLDER names a tree of it, BEARSSL_LIB=FILE and BEARSSL_INC=FOLDER \
	a library and its headers))
BEARSSL_INC = $(BEARSSL)/inc
ARCHIVE := $(OUT)/libbearssl.a
endif

.PHONY: all bench bench-replay bench-update chaos check check-boot check-cross check-peers demo dist fleet fuzz size \
	size-all install install-initramfs-tools install-dracut clean unit asan
all: $(BINARY)

$(BINARY): $(OUT)/cachefilesd-mini.full
	@echo "  STRIP   $@"
	@$(OBJCOPY) --strip-all --remove-section=.comment $< $@

$(OUT)/cachefilesd-mini.full: $(OBJECTS) $(ARCHIVE)
	@echo "  LD      $@"
	@$(CC) -no-pie $(CFLAGS) -static $(START) $(LDFLAGS) -Wl,--gc-sections -o $@ $^

$(OUT)/%.o: %.S Makefile
	@echo "  AS      $@"
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/%.o: %.c Makefile
	@echo "  CC      $@"
	@mkdir -p $(@D)
	@$(CC) $(WARN) $(SMALL) $(CFLAGS) $(FAST) $(CPPFLAGS) $(DEFINES) -DNDEBUG -I. -I$(BEARSSL_INC) -MMD -MP -c -o $@ $<

# What is run for each byte of an image. Processors that keep the order of instructions need them
# scheduled, which -Oz does not do; x86-64's do not.
HOT := $(foreach name,ciphers sha256,$(OUT)/trust/$(name).o $(OUT)/unit/trust/$(name))
$(HOT): FAST = $(if $(filter-out x86_64-%,$(MACHINE)),$(FASTER))

# BearSSL is compiled from its source, which makes it smaller than a distribution's library.
$(OUT)/libbearssl.a: bearssl.mk
	@echo "  BUILD   $@"
	@$(MAKE) -s -f bearssl.mk BEARSSL="$(BEARSSL)" OUT=$@ CC="$(CC)" AR="$(AR)" CFLAGS="$(CFLAGS) $(SMALL)" \
		FASTER="$(FASTER)"

build/asan/libbearssl.a: bearssl.mk
	@echo "  BUILD   $@"
	@$(MAKE) -s -f bearssl.mk BEARSSL="$(BEARSSL)" OUT=$@ CC="$(HOSTCC)" AR=gcc-ar CFLAGS="-g -O1"

# The same sources with the sanitizers, against the C library that has them.
asan: build/asan/cachefilesd-mini build/asan/cachefilesd-mini.pages
build/asan/cachefilesd-mini: $(MODULES:%=build/asan/%.o) build/asan/libbearssl.a
	@echo "  LD      $@"
	@$(HOSTCC) $(SANITIZE) -o $@ $^ -lresolv

# For the stand-in tests of machines with larger pages.
build/asan/cachefilesd-mini.pages: $(MODULES:%=build/asan/%.o) build/asan/pages.o build/asan/libbearssl.a
	@echo "  LD      $@"
	@$(HOSTCC) $(SANITIZE) -Wl,--wrap=getpagesize -o $@ $^ -lresolv
build/asan/pages.o: test/lib/pages.c Makefile
	@mkdir -p $(@D)
	@$(HOSTCC) $(WARN) $(SANITIZE) -c -o $@ $<

# For the replay bench, which is the server and the link.
REPLAYED := $(MODULES:%=build/asan/%.o) build/asan/test/bench/replay/link.o build/asan/test/bench/replay/replay.o
WRAPPED  := send recv setsockopt race_start race_run race_next dns_lookup
build/replay: $(filter-out build/asan/cachefilesd-mini.o,$(REPLAYED)) build/asan/libbearssl.a
	@echo "  LD      $@"
	@$(HOSTCC) $(SANITIZE) $(WRAPPED:%=-Wl,--wrap=%) -o $@ $^ -lresolv

build/asan/%.o: %.c Makefile
	@echo "  CC      $@"
	@mkdir -p $(@D)
	@$(HOSTCC) $(WARN) $(SANITIZE) $(DEFINES) -I. -I$(BEARSSL_INC) -MMD -MP -c -o $@ $<

# Assertions hold in unit tests and with the sanitizers; the product is compiled without them.
# A unit test is one file that includes the source under test. For another architecture it is
# compiled as the daemon is, without the sanitizers.
UNITS := $(patsubst test/unit/%.c,$(OUT)/unit/%,$(wildcard test/unit/*/*.c))
ifdef CROSS
UNIT_CC = $(CC) $(WARN) $(CFLAGS) $(FAST) -no-pie -static
UNIT_LIBRARIES = $(ARCHIVE)
else
UNIT_CC = $(HOSTCC) $(WARN) $(SANITIZE)
UNIT_LIBRARIES = build/asan/libbearssl.a -lresolv
endif
unit: $(UNITS)
$(OUT)/unit/%: test/unit/%.c test/unit/check.h $(filter %.a,$(UNIT_LIBRARIES)) Makefile
	@echo "  CC      $@"
	@mkdir -p $(@D)
	@$(UNIT_CC) $(DEFINES) -I. -I$(BEARSSL_INC) -MMD -MP -o $@ $< $(UNIT_LIBRARIES)

# For the stand-in tests of another architecture.
$(OUT)/cachefilesd-mini.qemu: $(OBJECTS) $(OUT)/cross_calls.o $(ARCHIVE)
	@echo "  LD      $@"
	@$(CC) -no-pie $(CFLAGS) -static $(START) $(LDFLAGS) -Wl,--gc-sections,--wrap=getauxval,--wrap=ioctl,--wrap=mlockall -o $@ $^
$(OUT)/cross_calls.o: test/cross/calls.c Makefile
	@mkdir -p $(@D)
	@$(CC) $(WARN) $(SMALL) $(CFLAGS) -fno-lto -c -o $@ $<

# What the ciphers cost on another architecture, counted by an emulator's plugin.
$(OUT)/cross_ciphers: test/cross/ciphers.c $(OUT)/trust/ciphers.o $(OUT)/trust/sha256.o $(ARCHIVE)
	@echo "  CC      $@"
	@$(UNIT_CC) -I. -I$(BEARSSL_INC) -o $@ $^
build/count.so: test/cross/count.c Makefile
	@$(HOSTCC) $(WARN) -O1 -fPIC -shared -o $@ $<

# A fuzz harness is made the same way, for clang's libFuzzer: `make fuzz SECONDS=60`, for each.
CLANG   = clang
SECONDS = 10
FUZZERS := $(patsubst test/fuzz/%.c,build/fuzz/%,$(wildcard test/fuzz/*/*.c))
fuzz: $(FUZZERS)
	@test/fuzz/run $(SECONDS)
build/fuzz/%: test/fuzz/%.c build/asan/libbearssl.a Makefile
	@echo "  CC      $@"
	@mkdir -p $(@D)
	@$(CLANG) $(WARN) $(SANITIZE) -fsanitize=fuzzer $(DEFINES) -I. -I$(BEARSSL_INC) -MMD -MP -MF $@.d -o $@ $< \
		build/asan/libbearssl.a -lresolv

check:
	test/check

# On the other architectures, under an emulator: CROSSES="TRIPLET..." for some of them.
CROSSES = x86_64-linux-gnu i686-linux-gnu aarch64-linux-gnu arm-linux-gnueabihf riscv64-linux-gnu \
	  mips-linux-gnu mipsel-linux-gnu s390x-linux-gnu
check-cross:
	test/install build guest $(CROSSES)
	test/cross/test_cross.py $(CROSSES)

# Against web servers and proxies that others have written.
check-peers:
	test/install build peers
	@$(MAKE) cachefilesd-mini build/unit/root/tls_client
	test/client/peers.py

# A fleet behind one line, with the caches of docs/fleet.md: its tables.
fleet:
	test/install build fleet
	@$(MAKE) cachefilesd-mini
	test/fleet/test_fleet.py

# Machines that boot from an image on a web server, in QEMU; as root, and for long. test/boot/boot.py --help
# lists the options that BOOT= takes.
BOOT =
check-boot:
	test/install build guest boot
	@$(MAKE) cachefilesd-mini
	test/boot/boot.py $(BOOT)

# All that can go wrong, for hours; writes docs/chaos.md. test/guest/chaos.py --help lists the options: one
# row, one kernel, little of each.
chaos:
	test/install build guest check
	@$(MAKE) cachefilesd-mini
	test/guest/chaos.py --write docs/chaos.md

# Beside what users might pick instead; writes docs/bench.md. BENCH=--quick takes some minutes, and
# test/bench/run.py --help lists the other options.
BENCH =
bench:
	test/install build guest bench
	@$(MAKE) cachefilesd-mini
	test/bench/run.py $(BENCH) cachefilesd-mini

# What the next build of an image costs devices that have the one before; docs/publishing.md has the table.
# test/bench/update.py --help lists the options that UPDATE= takes.
UPDATE =
bench-update:
	test/install build guest update
	@$(MAKE) cachefilesd-mini
	test/bench/update.py $(UPDATE) cachefilesd-mini

# The engine alone, over recorded READs and a modelled link, in virtual time: in seconds.
# test/bench/replay/run.py --help lists the options that REPLAY= takes.
REPLAY =
bench-replay: build/replay
	test/bench/replay/run.py $(REPLAY)

demo:
	test/demo

size: cachefilesd-mini
	@test/size

# A line for each architecture.
size-all:
	@for triplet in $(CROSSES); do $(MAKE) -s CROSS=$$triplet; done
	@test/size $(CROSSES)

install: $(BINARY)
	install -d $(DESTDIR)$(SBINDIR)
	install -m 755 $(BINARY) $(DESTDIR)$(SBINDIR)/
	for page in $(notdir $(wildcard man/*)); do \
		install -D -m 644 man/$$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$$page || exit; \
	done

# The parts for two initramfs systems, where packages of a distribution would put them.
# Each file with its own mode: some are run, others only read by the shell.
install_tree = for file in $$(cd $1 && find -L . -type f); do \
	install -D -m $$(stat -L -c %a $1/$$file) $1/$$file $(DESTDIR)$(PREFIX)/$2/$$file || exit; done

install-initramfs-tools:
	$(call install_tree,contrib/initramfs-tools,share/initramfs-tools)
	install -D -m 644 contrib/initramfs/cachefilesd-boot.sh $(DESTDIR)$(PREFIX)/share/cachefilesd-mini/cachefilesd-boot.sh

install-dracut:
	$(call install_tree,contrib/dracut,lib/dracut/modules.d)

# The release: what git has of HEAD, the same bytes every time.
dist:
	@mkdir -p build/dist
	git archive --prefix=cachefilesd-mini-$(VERSION)/ HEAD | gzip -n9 >build/dist/cachefilesd-mini-$(VERSION).tar.gz
	cd build/dist && sha256sum cachefilesd-mini-$(VERSION).tar.gz >cachefilesd-mini-$(VERSION).tar.gz.sha256

clean:
	rm -rf build cachefilesd-mini

-include $(foreach d,$(OUT) $(OUT)/unit build/asan build/fuzz,$(wildcard $d/*.d $d/*/*.d $d/test/bench/replay/*.d))
