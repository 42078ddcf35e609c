"""What a VM or a snapshot is made of, as the freestyle dialect reads it: layers, templates, and the older flat form."""

from hutch.api.freestyle import requests
from hutch.api.freestyle.requests import Amount, Body
from hutch.api.freestyle.units import SystemdUnitSpec, SystemdUnitSpecPatch


class SystemdConfig(Body):
    """Services to make, and to change."""

    services: list[SystemdUnitSpec] | None = None
    patched_services: list[SystemdUnitSpecPatch] | None = None


class Contents(Body):
    """What is done in a VM; of every form."""

    workdir: str | None = None
    idle_timeout_seconds: Amount | None = None
    wait_for_ready_signal: bool | None = None
    ready_signal_timeout_seconds: Amount | None = None
    ports: list[requests.PortMapping] | None = None
    systemd: SystemdConfig | None = None
    users: list[requests.LinuxUserSpec] | None = None
    groups: list[requests.LinuxGroupSpec] | None = None
    additional_files: dict[str, requests.FreestyleFile] | None = None
    git: requests.GitOptions | None = None
    git_repos: list[requests.GitRepositorySpec] | None = None
    apt_deps: list[str] | None = None
    snapshot_id: str | None = None


class Layer(Contents):
    """The same with sizes and a base."""

    base_image: requests.BaseImageSpec | None = None
    rootfs_size_gb: Amount | None = None
    mem_size_gb: Amount | None = None
    vcpu_count: Amount | None = None
    discriminator: str | None = None
    skip_cache: bool | None = None


class VmTemplate(Layer):
    """One layer, in the older form."""

    persistence: requests.VmPersistence | None = None


class SnapshotSpec(Layer):
    """A layer on top of another one."""

    snapshot: "SnapshotSpec | None" = None


class VmSpec(SnapshotSpec):
    """The outermost layer. The document knows only `snapshot` and `name` of it; its clients send all of a layer's."""

    name: str | None = None


class CreateVm(Contents):
    """A VM to make. The fields of `Contents` are the older form; beside `spec` they are a layer on top of it."""

    spec: VmSpec | None = None
    template: VmTemplate | None = None
    name: str | None = None
    persistence: requests.VmPersistence | None = None
    recreate: bool | None = None
    domains: list[requests.VmDomainConfig] | None = None
    activity_threshold_bytes: Amount | None = None
    docker_credentials: requests.DockerCredentials | None = None


class CreateSnapshot(Body):
    """A snapshot to make of a spec."""

    name: str | None = None
    spec: SnapshotSpec | None = None
    template: VmTemplate | None = None
    persistence: requests.SnapshotPersistence | None = None
    docker_credentials: requests.DockerCredentials | None = None


ALL: tuple[type[Body], ...] = (CreateVm, CreateSnapshot)
"""For the OpenAPI document."""
