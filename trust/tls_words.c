#include "trust/tls_words.h"

#include <bearssl.h>
#include <string.h>

#include "trust/tls13_messages.h"

const char *find_words(const struct words *table, size_t count, int number)
{
	for (size_t i = 0; i < count; i++)
		if (table[i].number == number)
			return table[i].text;
	return NULL;
}

/* Each begins with its number, in one byte: pointers would take more than the names. */
/* clang-format off */
static const char alerts[] =
	"\x0a" "unexpected_message\0"
	"\x14" "bad_record_mac\0"
	"\x16" "record_overflow\0"
	"\x28" "handshake_failure\0"
	"\x2a" "bad_certificate\0"
	"\x2b" "unsupported_certificate\0"
	"\x2c" "certificate_revoked\0"
	"\x2d" "certificate_expired\0"
	"\x2e" "certificate_unknown\0"
	"\x2f" "illegal_parameter\0"
	"\x30" "unknown_ca\0"
	"\x31" "access_denied\0"
	"\x32" "decode_error\0"
	"\x33" "decrypt_error\0"
	"\x46" "protocol_version\0"
	"\x47" "insufficient_security\0"
	"\x50" "internal_error\0"
	"\x56" "inappropriate_fallback\0"
	"\x5a" "user_canceled\0"
	"\x64" "no_renegotiation\0"
	"\x6d" "missing_extension\0"
	"\x6e" "unsupported_extension\0"
	"\x70" "unrecognized_name\0"
	"\x74" "certificate_required\0"
	"\x78" "no_application_protocol\0";
/* clang-format on */

const char *tls_alert_name(int alert)
{
	for (const char *at = alerts; *at; at += strlen(at) + 1)
		if (*at == alert)
			return at + 1;
	return "unknown";
}

bool tls_alert_is_about_client(int alert)
{
	return alert == 40 || (alert >= 42 && alert <= 49) || alert == 51 || alert == 116;
}

bool tls_alert_is_about_version(int alert)
{
	return alert == 40 || alert == 70 || alert == 71 || alert == 80;
}

/* BearSSL's errors that a client can meet. */
static const struct words errors[] = {
	{BR_ERR_UNSUPPORTED_VERSION,
		"the server answers by another version of TLS (UNSUPPORTED_VERSION)"},
	{BR_ERR_BAD_VERSION, "the server answers by another version of TLS (BAD_VERSION)"},
	{BR_ERR_BAD_LENGTH, "a TLS record has an impossible length (BAD_LENGTH)"},
	{BR_ERR_TOO_LARGE, "a TLS record is too large (TOO_LARGE)"},
	{BR_ERR_BAD_MAC, "a TLS record was damaged or forged on its way (BAD_MAC)"},
	{BR_ERR_NO_RANDOM, "no random bytes (NO_RANDOM)"},
	{BR_ERR_UNKNOWN_TYPE, "the server's answer is not TLS (UNKNOWN_TYPE)"},
	{BR_ERR_UNEXPECTED, "the server sent a TLS message out of turn (UNEXPECTED)"},
	{BR_ERR_BAD_CCS, "the TLS handshake is malformed (BAD_CCS)"},
	{BR_ERR_BAD_ALERT, "a TLS alert is malformed (BAD_ALERT)"},
	{BR_ERR_BAD_HANDSHAKE, "the TLS handshake is malformed (BAD_HANDSHAKE)"},
	{BR_ERR_OVERSIZED_ID, "the TLS session's number is malformed (OVERSIZED_ID)"},
	{BR_ERR_BAD_CIPHER_SUITE, "the server chose a cipher not offered (BAD_CIPHER_SUITE)"},
	{BR_ERR_BAD_COMPRESSION, "the server chose to compress, not offered (BAD_COMPRESSION)"},
	{BR_ERR_BAD_FRAGLEN, "the TLS handshake is malformed (BAD_FRAGLEN)"},
	{BR_ERR_BAD_SECRENEG, "the server's renegotiation check failed (BAD_SECRENEG)"},
	{BR_ERR_EXTRA_EXTENSION, "the server used an extension not offered (EXTRA_EXTENSION)"},
	{BR_ERR_BAD_SNI, "the TLS handshake is malformed (BAD_SNI)"},
	{BR_ERR_BAD_HELLO_DONE, "the TLS handshake is malformed (BAD_HELLO_DONE)"},
	{BR_ERR_LIMIT_EXCEEDED,
		"the server's key is too large: RSA has 4096 bits at most (LIMIT_EXCEEDED)"},
	{BR_ERR_BAD_FINISHED, "the TLS handshake was tampered with (BAD_FINISHED)"},
	{BR_ERR_INVALID_ALGORITHM, "the server uses an unknown curve or hash (INVALID_ALGORITHM)"},
	{BR_ERR_BAD_SIGNATURE, "the server does not hold its certificate's key (BAD_SIGNATURE)"},
	{BR_ERR_WRONG_KEY_USAGE, "the certificate's key does not fit the cipher (WRONG_KEY_USAGE)"},
	{TLS13_ERR_DOWNGRADE, "somebody on the way keeps the server from TLS 1.3"},
	{TLS13_ERR_IDLE, "the server sends nothing of use"},
	{TLS13_ERR_OLD_KEYS, "the server does not renew its keys"},
	{TLS13_ERR_NO_SIGNATURE, "our own key (key) does not sign"},
	{TLS13_ERR_COOKIE, "the server's TLS cookie is too long"},
	{BR_ERR_X509_EMPTY_CHAIN, "the server sent no certificate (X509_EMPTY_CHAIN)"},
};

const char *tls_error_words(int error)
{
	return FIND_WORDS(errors, error);
}

static const struct words curve_names[] = {
	{BR_EC_curve25519, "X25519"},
	{BR_EC_secp256r1, "P-256"},
	{BR_EC_secp384r1, "P-384"},
	{BR_EC_secp521r1, "P-521"},
};

const char *tls_curve_name(int curve)
{
	return FIND_WORDS(curve_names, curve);
}
