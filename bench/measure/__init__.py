"""Side-by-side measurements of reverse proxies on loopback."""
