"""The client, synchronous: made of `_async` by `unasync`. Do not edit."""
