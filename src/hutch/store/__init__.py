"""The record of what should be, in a database; `interface` is what others see of it."""
