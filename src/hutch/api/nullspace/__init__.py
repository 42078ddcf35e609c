"""The nullspace dialect: machines that run when they are made, with a lease, over JSON and WebSockets."""
