"""The wheel carries the guest's agent, a static Linux binary, so it is for that platform and not for any."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AgentHook(BuildHookInterface):  # type: ignore[type-arg]
    """Names the platform in the wheel's tag."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Any CPython 3 on 64-bit x86 Linux."""
        if self.target_name == "wheel" and version == "standard":
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-manylinux2014_x86_64"
