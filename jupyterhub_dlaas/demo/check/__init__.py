"""Plays a scientist in a running demo: over HTTP, and in the server's own terminal and kernel, as a browser does.

It knows nothing of the hub's code or of the rest of the demo, so it sees what a person sees.
"""
