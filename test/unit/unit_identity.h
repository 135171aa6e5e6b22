/* unit_identity.h - a certificate for example.test that signs itself, valid from 2020 to 2040, and
 * its private key, for the unit tests of tls.c and identity.c. The key is nobody's. */
static const char cert_pem[] = "-----BEGIN CERTIFICATE-----\n"
			       "MIIBizCCATCgAwIBAgIUKr6ghIVI6RyM5/2FLjCEzLN4+n8wCgYIKoZIzj0EAwIw\n"
			       "DzENMAsGA1UEAwwEdW5pdDAeFw0yMDAxMDEwMDAwMDBaFw00MDAxMDEwMDAwMDBa\n"
			       "MA8xDTALBgNVBAMMBHVuaXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAThRe2k\n"
			       "StMTZeujBoMQz9R9fFzzjmzXkSrNi/INWjGTnCyjXA+M9aDqDrksjQm6xNbx1qBO\n"
			       "KBq9u2lJ2BEAocPBo2owaDAJBgNVHRMEAjAAMA4GA1UdDwEB/wQEAwIHgDATBgNV\n"
			       "HSUEDDAKBggrBgEFBQcDATAXBgNVHREEEDAOggxleGFtcGxlLnRlc3QwHQYDVR0O\n"
			       "BBYEFH0s0r0nB0vdeAmpKOnGhDDi2LguMAoGCCqGSM49BAMCA0kAMEYCIQC0XQu/\n"
			       "VMTw0pANNdDtzXnOtP8Bj+5q74terWe+e6ZkcAIhAIfX0qJFlcje8hM79TdPYDoz\n"
			       "Y18Tc+c4liCpbav296r5\n"
			       "-----END CERTIFICATE-----\n";

static const char key_pem[] = "-----BEGIN EC PRIVATE KEY-----\n"
			      "MHcCAQEEIFb76nIOuqoCFaCq2grv1MwnntlBM9isk2UkuRyGUSgNoAoGCCqGSM49\n"
			      "AwEHoUQDQgAE4UXtpErTE2XrowaDEM/UfXxc845s15EqzYvyDVoxk5wso1wPjPWg\n"
			      "6g65LI0JusTW8dagTigavbtpSdgRAKHDwQ==\n"
			      "-----END EC PRIVATE KEY-----\n";
