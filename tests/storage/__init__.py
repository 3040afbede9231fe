"""Real storage on this machine: XRootD servers, caches, a FUSE mount and Rucio with third-party copies between them."""
