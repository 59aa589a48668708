"""Mathematics that the whole engine shares: convolutions, linear algebra, counting, devices and memory."""
