"""The API of Starpod's instances: machines that run when they are made, with their health."""
