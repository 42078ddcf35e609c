"""What a person types. Talks to the service through `client`; only `up` and `doctor` touch this box."""
