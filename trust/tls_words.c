#include "trust/tls_words.h"

#include <bearssl.h>

#include "base/words.h"
#include "trust/tls13_messages.h"

#define ALERTS(E)                                                                                  \
	E(10, "unexpected_message")                                                                \
	E(20, "bad_record_mac")                                                                    \
	E(22, "record_overflow")                                                                   \
	E(40, "handshake_failure")                                                                 \
	E(42, "bad_certificate")                                                                   \
	E(43, "unsupported_certificate")                                                           \
	E(44, "certificate_revoked")                                                               \
	E(45, "certificate_expired")                                                               \
	E(46, "certificate_unknown")                                                               \
	E(47, "illegal_parameter")                                                                 \
	E(48, "unknown_ca")                                                                        \
	E(49, "access_denied")                                                                     \
	E(50, "decode_error")                                                                      \
	E(51, "decrypt_error")                                                                     \
	E(70, "protocol_version")                                                                  \
	E(71, "insufficient_security")                                                             \
	E(80, "internal_error")                                                                    \
	E(86, "inappropriate_fallback")                                                            \
	E(90, "user_canceled")                                                                     \
	E(100, "no_renegotiation")                                                                 \
	E(109, "missing_extension")                                                                \
	E(110, "unsupported_extension")                                                            \
	E(112, "unrecognized_name")                                                                \
	E(116, "certificate_required")                                                             \
	E(120, "no_application_protocol")

const char *tls_alert_name(int alert)
{
	static const uint16_t numbers[] = {ALERTS(WORDS_NUMBER)};
	const char *name = words_find(numbers, ALERTS(WORDS_TEXT), alert);

	return name ? name : "unknown";
}

bool tls_alert_is_about_client(int alert)
{
	return alert == 40 || (alert >= 42 && alert <= 49) || alert == 51 || alert == 116;
}

bool tls_alert_is_about_version(int alert)
{
	return alert == 40 || alert == 70 || alert == 71 || alert == 80;
}

/* BearSSL's errors that a client can meet and that say more. */
#define ERROR_WORDS(E)                                                                             \
	E(BR_ERR_UNSUPPORTED_VERSION,                                                              \
		"the server answers by another version of TLS (UNSUPPORTED_VERSION)")              \
	E(BR_ERR_BAD_VERSION, "the server answers by another version of TLS (BAD_VERSION)")        \
	E(BR_ERR_BAD_LENGTH, "a TLS record has an impossible length (BAD_LENGTH)")                 \
	E(BR_ERR_TOO_LARGE, "a TLS record is too large (TOO_LARGE)")                               \
	E(BR_ERR_BAD_MAC, "a TLS record was damaged or forged on its way (BAD_MAC)")               \
	E(BR_ERR_NO_RANDOM, "no random bytes (NO_RANDOM)")                                         \
	E(BR_ERR_UNKNOWN_TYPE, "the server's answer is not TLS (UNKNOWN_TYPE)")                    \
	E(BR_ERR_UNEXPECTED, "the server sent a TLS message out of turn (UNEXPECTED)")             \
	E(BR_ERR_BAD_ALERT, "a TLS alert is malformed (BAD_ALERT)")                                \
	E(BR_ERR_BAD_CIPHER_SUITE, "the server chose a cipher not offered (BAD_CIPHER_SUITE)")     \
	E(BR_ERR_BAD_COMPRESSION, "the server chose to compress, not offered (BAD_COMPRESSION)")   \
	E(BR_ERR_BAD_SECRENEG, "the server's renegotiation check failed (BAD_SECRENEG)")           \
	E(BR_ERR_EXTRA_EXTENSION, "the server used an extension not offered (EXTRA_EXTENSION)")    \
	E(BR_ERR_LIMIT_EXCEEDED,                                                                   \
		"the server's key is too large: RSA has 4096 bits at most (LIMIT_EXCEEDED)")       \
	E(BR_ERR_BAD_FINISHED, "the TLS handshake was tampered with (BAD_FINISHED)")               \
	E(BR_ERR_INVALID_ALGORITHM,                                                                \
		"the server uses an unknown curve or hash (INVALID_ALGORITHM)")                    \
	E(BR_ERR_BAD_SIGNATURE, "the server does not hold its certificate's key (BAD_SIGNATURE)")  \
	E(BR_ERR_WRONG_KEY_USAGE,                                                                  \
		"the certificate's key does not fit the cipher (WRONG_KEY_USAGE)")                 \
	E(TLS13_ERR_DOWNGRADE, "somebody on the way keeps the server from TLS 1.3")                \
	E(TLS13_ERR_IDLE, "the server sends nothing of use")                                       \
	E(TLS13_ERR_OLD_KEYS, "the server does not renew its keys")                                \
	E(TLS13_ERR_NO_SIGNATURE, "our own key (key) does not sign")                               \
	E(TLS13_ERR_COOKIE, "the server's TLS cookie is too long")                                 \
	E(BR_ERR_X509_EMPTY_CHAIN, "the server sent no certificate (X509_EMPTY_CHAIN)")

const char *tls_error_words(int error)
{
	static const uint16_t numbers[] = {ERROR_WORDS(WORDS_NUMBER)};

	return words_find(numbers, ERROR_WORDS(WORDS_TEXT), error);
}

#define CURVES(E)                                                                                  \
	E(BR_EC_curve25519, "X25519")                                                              \
	E(BR_EC_secp256r1, "P-256")                                                                \
	E(BR_EC_secp384r1, "P-384")                                                                \
	E(BR_EC_secp521r1, "P-521")

const char *tls_curve_name(int curve)
{
	static const uint16_t numbers[] = {CURVES(WORDS_NUMBER)};

	return words_find(numbers, CURVES(WORDS_TEXT), curve);
}
