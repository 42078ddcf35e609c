"""The API of Hyperfleet: microVMs as records that are started and stopped."""
