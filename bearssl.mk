# Compiles BearSSL from its source tree BEARSSL into the archive OUT; called by the Makefile with CC
# and CFLAGS. On 64-bit machines the symmetric ciphers and hashes gain from -O2, the rest does not.
SOURCES := $(wildcard $(BEARSSL)/src/*.c $(BEARSSL)/src/*/*.c)
OBJECTS := $(SOURCES:$(BEARSSL)/src/%.c=$(OUT:.a=)/%.o)
ifneq ($(filter x86_64-% aarch64-%,$(shell $(CC) -dumpmachine)),)
$(OUT:.a=)/symcipher/%.o $(OUT:.a=)/hash/%.o: FAST = -O2
endif

$(OUT): $(OBJECTS)
	@rm -f $@
	@$(AR) rcs $@ $^

# BearSSL's own ways to random bytes are left out: tls.c seeds it by getrandom(2).
$(OUT:.a=)/%.o: $(BEARSSL)/src/%.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) $(FAST) -DBR_RDRAND=0 -DBR_USE_URANDOM=0 -I$(BEARSSL)/src -I$(BEARSSL)/inc \
		-c -o $@ $<
