"""A certificate for alerts.example.com that nobody but tests believes, with its key, valid until the year 2126.

Made once with ``openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500``, the name as
subject and alternative name, and the right to sign itself. It protects nothing.
"""

HOST = "alerts.example.com"
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMAr81RMtoMHuHUXS
mmAiLXAc4fUijevwZeHfhvzQCdehRANCAAQdONCMTP4JujYmc13nskfEZnOi5H2P
4K6g8+EVNaVCxosEB47L1bgLkGfMFhMR+74pL/il+c15/PLboXSuwY8j
-----END PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBwzCCAWigAwIBAgIUU9SN8DXbKpXARQGw8v3ao7wO1pwwCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSYWxlcnRzLmV4YW1wbGUuY29tMCAXDTI2MTEyMzE5NTkwM1oY
DzIxMjYxMDMwMTk1OTAzWjAdMRswGQYDVQQDDBJhbGVydHMuZXhhbXBsZS5jb20w
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQdONCMTP4JujYmc13nskfEZnOi5H2P
4K6g8+EVNaVCxosEB47L1bgLkGfMFhMR+74pL/il+c15/PLboXSuwY8jo4GDMIGA
MB0GA1UdDgQWBBRpC5X1G9ozHXn8e4PQC35QBtdBmDAfBgNVHSMEGDAWgBRpC5X1
G9ozHXn8e4PQC35QBtdBmDAdBgNVHREEFjAUghJhbGVydHMuZXhhbXBsZS5jb20w
DwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAoQwCgYIKoZIzj0EAwIDSQAw
RgIhAM26LULBjgdPlICJ0VWsjnD3k7zd1ZKzo5IlZrm05FjUAiEAyxjnXUoZT3aq
7Z4hMtCAwC5N9fdZIVbfqxUZ6dqNz3M=
-----END CERTIFICATE-----
"""
