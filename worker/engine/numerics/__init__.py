"""Mathematics of the whole engine: convolutions, linear algebra, counting, devices, memory."""
