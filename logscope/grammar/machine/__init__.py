"""The kernel: the machine of `ops` over a chunk of bytes, compiled to machine code by `engine`."""
