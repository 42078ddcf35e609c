"""The reverse proxy: HTTP/1.1 and WebSockets to published ports of machines, and raw TCP through WebSockets.

`forward` carries a request to where its machine is reached, `app` finds the machine and lets the visitor in, `listener`
is the port that all this has of its own. smol's `connect` uses `forward` too.
"""
