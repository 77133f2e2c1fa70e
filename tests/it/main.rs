//! Integration tests: a real server on port 0, asked over the network.
