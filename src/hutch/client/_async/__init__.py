"""The client, asynchronous: written by hand. `_sync` is made of it by `python src/hutch/client/unasync.py`."""
