/* signatures.h - keys and signatures of one root hash, by openssl(1), for the unit test and the
 * fuzz harness of p7s.c; test/client/test_p7s.py makes the other kinds. */

static const char signed_root[] =
	"777fbdcce84ed96f6bd53d5f528a9bcdbcf097765f28e9b6ea4dfd16dfe42590";

/* P-256, in a certificate whose common name is "Images". */
static const char ec_cert_pem[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBlTCCATugAwIBAgIUEinFt+kBAs95/hEWgz5JZReqSAcwCgYIKoZIzj0EAwIw\n"
	"IDENMAsGA1UECgwEVGVzdDEPMA0GA1UEAwwGSW1hZ2VzMB4XDTI2MTEzMDEwMDkw\n"
	"NFoXDTQwMDgwODEwMDkwNFowIDENMAsGA1UECgwEVGVzdDEPMA0GA1UEAwwGSW1h\n"
	"Z2VzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7rgsj2ij/0EsGVAWHZ/vQ5/q\n"
	"8L8zwd9rCa2iOyjrVVqj3BzqiienM18cb2eRP4ocCbPawrWoOJLBqckja6rq1qNT\n"
	"MFEwHQYDVR0OBBYEFOVdGPvNoi6JitWIuBYXGFvGu3fyMB8GA1UdIwQYMBaAFOVd\n"
	"GPvNoi6JitWIuBYXGFvGu3fyMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID\n"
	"SAAwRQIhANRFFISKu9Fn1PGzV27lM9IaUIQaI+SQxbrKeDJJu6W0AiB4gHK6ogdx\n"
	"H6UdauAC/lARjfy0e7tIBXKl4C1hNKGJDA==\n"
	"-----END CERTIFICATE-----\n";

/* RSA of 2048 bits. */
static const char rsa_public_pem[] =
	"-----BEGIN PUBLIC KEY-----\n"
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlT0tIIFU4Hu6IUG2pLAB\n"
	"uvQh0dh3d2BzuCogMFgvhycJh5f60hQYgltumyfppftnUHBZxcJxjn7sHbe+TZeu\n"
	"bg8Ggwt2ddOCAYEMBSKD9uhiC3oZDn4OhX1rdMUHnuShVm43XihKwOPa8PtQwije\n"
	"JlUCR4ghLaeH3zlJF1NaT0iZGRFkvkPERP7aCuXQjs9lEqNfSUfoeGB/dpplisdU\n"
	"6JHHnxShEr1tYhS94v5Ekeq1+LgIIL/k1lXj4L2V4FK9OpmW5/bL0as/sMF+DeFO\n"
	"0hnEB1j7xuxdK8Cmry6MuoXeQNzFoVWfG6HOEYpY8PRaduEv7G15urusY7w3scSe\n"
	"8wIDAQAB\n"
	"-----END PUBLIC KEY-----\n";

/* openssl smime -sign -nocerts -noattr -binary -in ROOTHASH */
static const char ec_p7s[] = "-----BEGIN PKCS7-----\n"
			     "MIHZBgkqhkiG9w0BBwKggcswgcgCAQExDzANBglghkgBZQMEAgEFADALBgkqhkiG\n"
			     "9w0BBwExgaQwgaECAQEwODAgMQ0wCwYDVQQKDARUZXN0MQ8wDQYDVQQDDAZJbWFn\n"
			     "ZXMCFBIpxbfpAQLPef4RFoM+SWUXqkgHMA0GCWCGSAFlAwQCAQUAMAoGCCqGSM49\n"
			     "BAMCBEcwRQIgaJFNm5pQzI8Grbu+Y787+0dUoGmCDY99UrWaX2QCsXsCIQDUT7+A\n"
			     "3eCIukbJvaGdKTKX3vaSZ9uK9CXAA9EPjv9zoA==\n"
			     "-----END PKCS7-----\n";

static const char rsa_p7s[] = "-----BEGIN PKCS7-----\n"
			      "MIIBnwYJKoZIhvcNAQcCoIIBkDCCAYwCAQExDzANBglghkgBZQMEAgEFADALBgkq\n"
			      "hkiG9w0BBwExggFnMIIBYwIBATA8MCQxDTALBgNVBAoMBFRlc3QxEzARBgNVBAMM\n"
			      "CkltYWdlcyBSU0ECFGAAi3gdmXM6Cs6rFZPkGK+pHkj7MA0GCWCGSAFlAwQCAQUA\n"
			      "MA0GCSqGSIb3DQEBAQUABIIBAE0mU5ebf97IED2lUBH1xaaNQw47QkyEHGrHO89F\n"
			      "qHXy5kARz7pCszArQD6bBFR1j+QzcdgKtQ1yuWcAgTfJhNHrViNnEa3pN8HRnIpd\n"
			      "gcF6qduKUvSOuHX59qZNXcYMiZe7rB8UERnkuOe8EUWi67ZJOt4aspKjAX6lZjzu\n"
			      "ehMj0+UV3WZ2zrz0ID8iqojJ4C/AMrIGsRQRQg5kpgZ0hj0NZjVH61wzn6iJM5fD\n"
			      "IAdrSRV0eoNyc4QzT5GhZKIknw/fog96X2NVbJmU9vDa8QZoZ3RcwmfHEOq2ANUN\n"
			      "IRXPO9gIaY5hrE6yuL1oTXEnCjjBqmIwNkrICLa6UdM2kyQ=\n"
			      "-----END PKCS7-----\n";

/* openssl cms -sign -keyid -noattr -binary -in ROOTHASH: with the certificate inside. */
static const char certs_p7s[] = "-----BEGIN PKCS7-----\n"
				"MIICTwYJKoZIhvcNAQcCoIICQDCCAjwCAQMxDTALBglghkgBZQMEAgEwCwYJKoZI\n"
				"hvcNAQcBoIIBmTCCAZUwggE7oAMCAQICFBIpxbfpAQLPef4RFoM+SWUXqkgHMAoG\n"
				"CCqGSM49BAMCMCAxDTALBgNVBAoMBFRlc3QxDzANBgNVBAMMBkltYWdlczAeFw0y\n"
				"NjExMzAxMDA5MDRaFw00MDA4MDgxMDA5MDRaMCAxDTALBgNVBAoMBFRlc3QxDzAN\n"
				"BgNVBAMMBkltYWdlczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABO64LI9oo/9B\n"
				"LBlQFh2f70Of6vC/M8Hfawmtojso61Vao9wc6oonpzNfHG9nkT+KHAmz2sK1qDiS\n"
				"wanJI2uq6tajUzBRMB0GA1UdDgQWBBTlXRj7zaIuiYrViLgWFxhbxrt38jAfBgNV\n"
				"HSMEGDAWgBTlXRj7zaIuiYrViLgWFxhbxrt38jAPBgNVHRMBAf8EBTADAQH/MAoG\n"
				"CCqGSM49BAMCA0gAMEUCIQDURRSEirvRZ9Txs1du5TPSGlCEGiPkkMW6yngySbul\n"
				"tAIgeIByuqIHcR+lHWrgAv5QEY38tHu7SAVypeAtYTShiQwxfjB8AgEDgBTlXRj7\n"
				"zaIuiYrViLgWFxhbxrt38jALBglghkgBZQMEAgEwCgYIKoZIzj0EAwIESDBGAiEA\n"
				"mJvtMGhP2u8Ue/O1Xxx3fA9Rn65yyKufQB9/d3kpzH4CIQDDt7BX1c57dyuNz45Q\n"
				"7JB9wNfMQPzO2mP0RYfV92/KmQ==\n"
				"-----END PKCS7-----\n";
