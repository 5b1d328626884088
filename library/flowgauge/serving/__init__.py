"""The endpoint: a server with bounded threads, TLS and authentication, and its answers inside other servers."""
