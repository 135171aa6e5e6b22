# Compiles BearSSL from its source tree BEARSSL into the archive OUT; called by the Makefile with CC
# and CFLAGS. What a 64-bit machine runs for each byte of an image gains from -O2, the rest does not.
SOURCES := $(wildcard $(BEARSSL)/src/*.c $(BEARSSL)/src/*/*.c)
OBJECTS := $(SOURCES:$(BEARSSL)/src/%.c=$(OUT:.a=)/%.o)
MACHINE := $(shell $(CC) -dumpmachine)
ifneq ($(filter x86_64-%,$(MACHINE)),)
HOT := symcipher/aes_x86ni_ctr hash/ghash_pclmul symcipher/chacha20_sse2 symcipher/poly1305_ctmulq
endif
ifneq ($(filter aarch64-%,$(MACHINE)),)
HOT := symcipher/aes_ct64 symcipher/aes_ct64_enc symcipher/aes_ct64_ctr hash/ghash_ctmul64 \
       symcipher/chacha20_ct symcipher/poly1305_ctmulq
endif
ifdef HOT
$(HOT:%=$(OUT:.a=)/%.o): FAST = -O2
endif

$(OUT): $(OBJECTS)
	@rm -f $@
	@$(AR) rcs $@ $^

# BearSSL's own ways to random bytes are left out: tls.c seeds it by getrandom(2).
$(OUT:.a=)/%.o: $(BEARSSL)/src/%.c bearssl.mk
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) $(FAST) -DBR_RDRAND=0 -DBR_USE_URANDOM=0 -I$(BEARSSL)/src -I$(BEARSSL)/inc \
		-c -o $@ $<
