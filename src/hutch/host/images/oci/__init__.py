"""Images from any OCI registry: skopeo talks to it, umoci applies the layers, in a jail."""
