# cachefilesd-mini: `make` builds one static binary from musl and BearSSL, and nothing else.
#
# A packager's variables:
#   CC CFLAGS CPPFLAGS LDFLAGS    the target's compiler (default: musl-gcc) and flags
#   CROSS                         a triplet such as aarch64-linux-gnu: the binary is built for it, with
#                                 musl from its source (test/musl), in build/TRIPLET
#   BEARSSL                       a BearSSL source tree; by default Debian's source package is
#                                 fetched once into the user's cache directory (test/source)
#   BEARSSL_LIB BEARSSL_INC       a compiled libbearssl.a and its headers, instead of a tree
#   WERROR                        -Werror makes warnings errors, as the tests do
#   DESTDIR PREFIX SBINDIR MANDIR where `make install` puts the binary and the manual pages; the
#   DOCDIR SYSCONFDIR SYSTEMDDIR  licence, the configuration and systemd's units
#   INITRAMFSDIR DRACUTDIR        where the two initramfs systems look for their parts, whatever PREFIX is
#   SOURCE_DATE_EPOCH             the build's date: certificates are never judged by an earlier one

# Those of the flags $1 that the compiler knows, which is asked for each only if it does not know all.
known = $(shell know() { echo 'int x;' | $(CC) -Werror "$$@" -x c -c -o /dev/null - 2>/dev/null; }; \
	if know $1; then echo '$1'; else for flag in $1; do ! know $$flag || echo $$flag; done; fi)

# In one partition the linker's compiler sees all: that is slower, and makes the file smaller.
LTO     = $(eval LTO := $$(if $$(call known,-flto-partition=one),-flto=auto -flto-partition=one))$(LTO)
CFLAGS  = $(eval CFLAGS := $$(or $$(call known,-Oz),-Os) $$(LTO) $$(SMALLER) \
	  $$(call known,-fno-jump-tables -fno-tree-switch-conversion -fno-inline-functions-called-once \
	  -malign-data=abi))$(CFLAGS)
# These passes copy code, need registers or join blocks too early even at -Oz. What has to be fast
# keeps them.
SMALLER = $(eval SMALLER := $$(call known,-fno-thread-jumps -fno-caller-saves -fno-tree-dominator-opts \
	  -fno-move-loop-invariants -fno-tree-loop-im -fno-shrink-wrap -fno-ipa-sra -fno-tree-tail-merge))$(SMALLER)
FASTER  = -O2 $(patsubst -fno-%,-f%,$(filter $(SMALLER),$(CFLAGS)))
# On x86-64 the start of the program is our own (base/x86_64.S).
START   = $(shell $(CC) -E -P base/x86_64.S | grep -qw _start && echo -nostartfiles)
# In the file the data follows the code at once, not at the next page.
LDFLAGS = -Wl,-O1 -Wl,-z,noseparate-code,-z,common-page-size=64 -Wl,--build-id=none -Wl,-z,norelro
PREFIX  = /usr/local
SBINDIR = $(PREFIX)/sbin
MANDIR  = $(PREFIX)/share/man
DOCDIR  = $(PREFIX)/share/doc/cachefilesd-mini
SYSCONFDIR = /etc
SYSTEMDDIR = $(PREFIX)/lib/systemd/system
INITRAMFSDIR = /usr/share/initramfs-tools
DRACUTDIR = /usr/lib/dracut/modules.d
HOSTCC  = gcc

ifdef CROSS
# Looked up when the first object needs it.
MUSL    = $(eval MUSL := $$(shell test/musl $(CROSS)))$(or $(MUSL),$(error no musl for $(CROSS), see above))
CC      = $(MUSL)/bin/musl-gcc
OUT    := build/$(CROSS)
BINARY := $(OUT)/cachefilesd-mini
else
# Looked up when the first object needs it.
CC      = $(eval CC := musl-gcc)$(if $(shell command -v musl-gcc 2>/dev/null),musl-gcc,$(error musl-gcc is missing: \
	on Debian `test/install build` installs it, in the package musl-tools; CC= names another compiler for musl))
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

VERSION := 0.2
# What packages need: an address for mail, and where releases are. Neither exists yet.
MAINTAINER  := The cachefilesd-mini authors <maintainers@cachefilesd-mini.example>
PROJECT_URL := https://cachefilesd-mini.example
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

SERVICES = systemd openrc sysvinit procd
.PHONY: all help bench bench-replay bench-update chaos check check-boot check-cross check-peers demo dist \
	release fleet fuzz size size-all install $(SERVICES:%=install-%) install-initramfs-tools install-dracut uninstall clean unit asan
all: $(BINARY) build/cachefilesd.conf ## the binary, and the sample of its configuration

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | while IFS='	' read -r target text; do \
		printf '  %-24s %s\n' "$$target" "$$text"; done

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
asan: build/asan/cachefilesd-mini build/asan/cachefilesd-mini.pages ## the binary with the sanitizers, in build/asan
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
$(OUT)/unit/daemon/conf: build/cachefilesd.conf
unit: $(UNITS) ## the unit tests, in build/unit
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
fuzz: $(FUZZERS) ## all fuzz harnesses, SECONDS=10 each
	@test/fuzz/run $(SECONDS)
build/fuzz/%: test/fuzz/%.c build/asan/libbearssl.a Makefile
	@echo "  CC      $@"
	@mkdir -p $(@D)
	@$(CLANG) $(WARN) $(SANITIZE) -fsanitize=fuzzer $(DEFINES) -I. -I$(BEARSSL_INC) -MMD -MP -MF $@.d -o $@ $< \
		build/asan/libbearssl.a -lresolv

check: ## all tests: test/check
	test/check

# On the other architectures, under an emulator: CROSSES="TRIPLET..." for some of them.
CROSSES = x86_64-linux-gnu i686-linux-gnu aarch64-linux-gnu arm-linux-gnueabihf riscv64-linux-gnu \
	  mips-linux-gnu mipsel-linux-gnu s390x-linux-gnu
check-cross: ## the tests of other architectures, CROSSES=... for some
	test/install build guest $(CROSSES)
	test/cross/test_cross.py $(CROSSES)

# Against web servers and proxies that others have written.
check-peers: ## the tests with real servers and proxies
	test/install build guest peers
	@$(MAKE) cachefilesd-mini build/unit/root/tls_client
	test/client/peers.py

# A fleet behind one line, with the caches of docs/fleet.md: its tables.
fleet: ## the tests of a fleet behind one line
	test/install build fleet
	@$(MAKE) cachefilesd-mini
	test/fleet/test_fleet.py

# Machines that boot from an image on a web server, in QEMU; as root, and for long. test/boot/boot.py --help
# lists the options that BOOT= takes.
BOOT =
check-boot: ## machines that boot, in QEMU; BOOT= takes options
	test/install build guest boot
	@$(MAKE) cachefilesd-mini
	test/boot/boot.py $(BOOT)

# All that can go wrong, for hours; writes the tables of docs/chaos.md. test/guest/chaos.py --help lists the options: one
# row, one kernel, little of each.
chaos: ## what can go wrong, for hours; writes the tables of docs/chaos.md
	test/install build guest check
	@$(MAKE) cachefilesd-mini
	test/guest/chaos.py --write docs/chaos.md

# Beside what users might pick instead; writes docs/bench.md. BENCH=--quick takes some minutes, and
# test/bench/run.py --help lists the other options.
BENCH =
bench: ## beside other programs; writes docs/bench.md; BENCH= takes options
	test/install build guest bench
	@$(MAKE) cachefilesd-mini
	test/bench/run.py $(BENCH) cachefilesd-mini

# What the next build of an image costs devices that have the one before; docs/publishing.md has the table.
# test/bench/update.py --help lists the options that UPDATE= takes.
UPDATE =
bench-update: ## what an update fetches; UPDATE= takes options
	test/install build guest update
	@$(MAKE) cachefilesd-mini
	test/bench/update.py $(UPDATE) cachefilesd-mini

# The engine alone, over recorded READs and a modelled link, in virtual time: in seconds.
# test/bench/replay/run.py --help lists the options that REPLAY= takes.
REPLAY =
bench-replay: build/replay ## the fetch engine on recorded READs; REPLAY= takes options
	test/bench/replay/run.py $(REPLAY)

demo: ## a demonstration: test/demo
	test/demo

size: cachefilesd-mini ## what the binary and its tables weigh
	@test/size

# A line for each architecture.
size-all: ## the same for all architectures
	@for triplet in $(CROSSES); do $(MAKE) -s CROSS=$$triplet; done
	@test/size $(CROSSES)

# What is installed, as FILE,PLACE. The page of a manual's section lies in that section's folder.
own_files = $(BINARY),$(SBINDIR)/cachefilesd-mini LICENSE,$(DOCDIR)/LICENSE \
	build/cachefilesd.conf,$(SYSCONFDIR)/cachefilesd.conf \
	contrib/bash-completion/cachefilesd-mini,$(PREFIX)/share/bash-completion/completions/cachefilesd-mini \
	$(foreach page,$(wildcard man/*),$(page),$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
systemd_files = build/systemd/cachefilesd-mini.service,$(SYSTEMDDIR)/cachefilesd-mini.service \
	build/systemd/cachefilesd-mini@.service,$(SYSTEMDDIR)/cachefilesd-mini@.service
openrc_files = build/openrc/cachefilesd-mini.initd,$(SYSCONFDIR)/init.d/cachefilesd-mini \
	build/openrc/cachefilesd-mini.confd,$(SYSCONFDIR)/conf.d/cachefilesd-mini
sysvinit_files = build/sysvinit/cachefilesd-mini,$(SYSCONFDIR)/init.d/cachefilesd-mini
procd_files = build/procd/cachefilesd-mini.init,$(SYSCONFDIR)/init.d/cachefilesd-mini
# The parts for two initramfs systems, where these look.
tree_files = $(foreach file,$(shell cd contrib/$1 && find -L . -type f | sed 's,^\./,,'),build/$1/$(file),$2/$(file))
initramfs_tools_files = $(call tree_files,initramfs-tools,$(INITRAMFSDIR)) \
	build/initramfs/cachefilesd-boot.sh,$(PREFIX)/share/cachefilesd-mini/cachefilesd-boot.sh
dracut_files = $(call tree_files,dracut,$(DRACUTDIR))
service_files = $(foreach service,$(SERVICES),$($(service)_files))
comma := ,
sources_of = $(foreach file,$1,$(firstword $(subst $(comma), ,$(file))))

# What people change, the configuration and OpenRC's settings, is never overwritten.
put_files = @for file in $1; do place=$(DESTDIR)$${file\#*,} file=$${file%%,*} mode=644; \
	[ ! -x $$file ] || mode=755; \
	case $$place in */cachefilesd.conf | */conf.d/*) [ ! -e $$place ] || continue ;; esac; \
	echo "  INSTALL $$place"; \
	install -D -m $$mode $$file $$place || exit; done

install: $(BINARY) build/cachefilesd.conf ## the binary, manual pages, licence, a sample configuration, completion for bash
	$(call put_files,$(own_files))

install-systemd: $(call sources_of,$(systemd_files)) ## units for systemd
	$(call put_files,$(systemd_files))

install-openrc: $(call sources_of,$(openrc_files)) ## a script for OpenRC
	$(call put_files,$(openrc_files))

install-sysvinit: $(call sources_of,$(sysvinit_files)) ## a script for sysvinit
	$(call put_files,$(sysvinit_files))

install-procd: $(call sources_of,$(procd_files)) ## a script for OpenWrt's procd
	$(call put_files,$(procd_files))

install-initramfs-tools: $(call sources_of,$(initramfs_tools_files)) ## a root over HTTP, for initramfs-tools
	$(call put_files,$(initramfs_tools_files))

install-dracut: $(call sources_of,$(dracut_files)) ## the same for dracut
	$(call put_files,$(dracut_files))

# In /etc only what is as it was installed goes; of the folders those that are the program's own.
uninstall: build/cachefilesd.conf $(call sources_of,$(service_files) $(initramfs_tools_files) $(dracut_files)) ## removes all that the above have installed
	@for file in $(own_files) $(service_files) $(initramfs_tools_files) $(dracut_files); do \
		place=$(DESTDIR)$${file#*,} file=$${file%%,*}; \
		case $$place in $(DESTDIR)$(SYSCONFDIR)/*) cmp -s $$file $$place || continue ;; esac; \
		rm -f $$place; \
		case $${place%/*} in */*cachefilesd-mini) rmdir $${place%/*} 2>/dev/null ;; esac; done; true

build/cachefilesd.conf: contrib/sample/cachefilesd.conf.awk daemon/conf.c man/cachefilesd-mini.conf.5 Makefile
	@mkdir -p $(@D)
	@awk -v version=$(VERSION) -f $(filter-out Makefile,$^) >$@.new && mv $@.new $@

# They name the program's place, which may be another one each time.
$(call sources_of,$(service_files) $(initramfs_tools_files) $(dracut_files)): build/%: contrib/% FORCE
	@mkdir -p $(@D)
	@sed 's#/usr/sbin/#$(SBINDIR)/#; s#/usr/share/cachefilesd-mini/#$(PREFIX)/share/cachefilesd-mini/#' $< >$@ && { [ ! -x $< ] || chmod 755 $@; }
FORCE:

# What git has of HEAD, the same bytes every time.
dist: ## the source's tarball, in build/dist
	@mkdir -p build/dist
	git archive --prefix=cachefilesd-mini-$(VERSION)/ HEAD | gzip -n9 >build/dist/cachefilesd-mini-$(VERSION).tar.gz
	cd build/dist && sha256sum cachefilesd-mini-$(VERSION).tar.gz >cachefilesd-mini-$(VERSION).tar.gz.sha256

release: ## the same, with binaries (CROSSES), manual pages, packaging files, SPDX and SHA256SUMS
	@rm -rf build/dist
	@$(MAKE) -s dist
	@git diff --quiet HEAD || echo "release: there are changes here that the tarball has not" >&2
	@for triplet in $(CROSSES); do \
		echo "  CROSS   $$triplet"; $(MAKE) -s CROSS=$$triplet BUILD_TIME=$(BUILD_TIME) || exit; done
	@VERSION='$(VERSION)' BUILD_TIME='$(BUILD_TIME)' MAINTAINER='$(MAINTAINER)' PROJECT_URL='$(PROJECT_URL)' \
		contrib/packaging/release $(CROSSES)
	@cat build/dist/SHA256SUMS

clean: ## removes all that was built
	rm -rf build cachefilesd-mini

-include $(foreach d,$(OUT) $(OUT)/unit build/asan build/fuzz,$(wildcard $d/*.d $d/*/*.d $d/test/bench/replay/*.d))
