"""The relay's edge: asyncio, sockets, files, threads and the clock."""
