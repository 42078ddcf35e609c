"""The smol dialect: smolmachines Cloud's API, and in its style the native one that the CLI and the SDK speak."""
