# Compiles BearSSL from its source tree BEARSSL into the archive OUT; called by the Makefile with CC,
# AR, CFLAGS, and FASTER for what has to be fast.
FASTER  := -O2
MACHINE := $(shell $(CC) -dumpmachine)

# What neither the daemon nor a test links on any architecture is not compiled.
UNUSED  := aead/% ec/ec_keygen ec/ecdsa_i15_% hash/ghash_ctmul32 hash/ghash_pwr8 int/i62_% kdf/% rsa/%keygen rsa/%keygen_inner rsa/%modulus rsa/%_oaep_% rsa/%pubexp \
	   rsa/%privexp rsa/rsa_i15_% rsa/rsa_i32_% rsa/rsa_i62_% ssl/ssl_rec_ccm symcipher/aes_big_% \
	   symcipher/aes_small_% symcipher/aes_pwr8% symcipher/des_% symcipher/poly1305_ctmul32 \
	   symcipher/poly1305_i15 x509/asn1enc x509/encode_%
SOURCES := $(filter-out $(UNUSED:%=$(BEARSSL)/src/%.c),$(sort $(wildcard $(BEARSSL)/src/*.c $(BEARSSL)/src/*/*.c)))
OBJECTS := $(SOURCES:$(BEARSSL)/src/%.c=$(OUT:.a=)/%.o)

# What is run for each byte of an image (trust/ciphers.c, trust/sha256.c) gains from -O2, the rest
# does not.
ifneq ($(filter x86_64-%,$(MACHINE)),)
HOT :=
else ifneq ($(filter aarch64-% riscv64-% s390x-%,$(MACHINE)),)
HOT := symcipher/aes_ct64 symcipher/aes_ct64_enc symcipher/aes_ct64_ctr hash/ghash_ctmul64 \
       symcipher/chacha20_ct hash/sha2small
else
HOT := symcipher/aes_ct symcipher/aes_ct_enc symcipher/aes_ct_ctr hash/ghash_ctmul \
       symcipher/chacha20_ct symcipher/chacha20_sse2 symcipher/poly1305_ctmul \
       hash/sha2small
endif
$(HOT:%=$(OUT:.a=)/%.o): FAST = $(FASTER)

# Where words may lie at any address in the machine's own byte order, but BearSSL does not know it.
# (Not on ARM with 32 bits, where the compiler joins two such words into one that may not.)
ifneq ($(filter aarch64-%,$(MACHINE)),)
UNALIGNED := -DBR_LE_UNALIGNED=1
else ifneq ($(filter s390x-%,$(MACHINE)),)
UNALIGNED := -DBR_BE_UNALIGNED=1
endif

$(OUT): $(OBJECTS)
	@rm -f $@
	@$(AR) rcs $@ $^

# BearSSL's own ways to random bytes are left out: tls.c seeds it by getrandom(2).
$(OUT:.a=)/%.o: $(BEARSSL)/src/%.c bearssl.mk
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) $(FAST) $(UNALIGNED) -DBR_RDRAND=0 -DBR_USE_URANDOM=0 -I$(BEARSSL)/src -I$(BEARSSL)/inc \
		-c -o $@ $<
