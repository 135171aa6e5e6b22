/* certs.h - certificates for the unit tests and fuzz harnesses, all valid from 2020 to 2040. */

/* For example.test, signed by itself, and its key. */
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

/* A root, whose key nobody has any more. */
static const char root_pem[] = "-----BEGIN CERTIFICATE-----\n"
			       "MIIBgDCCASagAwIBAgIUEyezIRkAk9q43x2kNFSBSmIUhs4wCgYIKoZIzj0EAwIw\n"
			       "HjENMAsGA1UECgwEVGVzdDENMAsGA1UEAwwEcm9vdDAeFw0yMDAxMDEwMDAwMDBa\n"
			       "Fw00MDAxMDEwMDAwMDBaMB4xDTALBgNVBAoMBFRlc3QxDTALBgNVBAMMBHJvb3Qw\n"
			       "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASZdbZc5Iwut/znHoSZsvWLMonKqwHu\n"
			       "L33P8bfbLTVueM2SYO5cRuI1kbbzaAZch7Urr6O/5Tpi9T50gUoY0MgDo0IwQDAP\n"
			       "BgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQUag9btVKs\n"
			       "1xepjRHWchMH0P2CGIEwCgYIKoZIzj0EAwIDSAAwRQIgODp0M24gaJqHHh3gwuFW\n"
			       "NpVV4TBZta7GEoeMwdiNJ1UCIQCod+L9ssuhC+WhZ47uID1rxn34qNhUuZjuPRAg\n"
			       "RiE6uA==\n"
			       "-----END CERTIFICATE-----\n";
