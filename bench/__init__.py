"""The figures of RESULTS.md: `make bench` measures them here, peers in the same run, rounds interleaved."""
