"""What a machine on the user network reaches."""

import socket

from hutch.model.machine import NetworkMode, NetworkPolicy
from machines import Launcher


async def test_a_machine_does_not_reach_the_hosts_own_services(vms: Launcher) -> None:
    machine = await vms.launch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = await machine.run(f"echo hello | nc -w 3 10.0.2.2 {port}", check=False, timeout=20)
        assert result.exit.code != 0
        server.settimeout(0.5)
        try:
            server.accept()[0].close()
        except TimeoutError:
            return
    raise AssertionError("the guest has connected to the host's loopback")


async def test_a_machine_has_an_address_a_route_and_a_resolver(vms: Launcher) -> None:
    machine = await vms.launch()
    assert "10.0.2.15" in (await machine.run("ip addr show eth0")).text
    assert "default via 10.0.2.2" in (await machine.run("ip route")).text
    assert "nameserver 10.0.2.3" in (await machine.run("cat /etc/resolv.conf")).text


async def test_a_blocked_machine_gets_no_answer_even_from_the_resolver(vms: Launcher) -> None:
    machine = await vms.launch(network=NetworkPolicy(NetworkMode.BLOCKED))
    result = await machine.run("nslookup -timeout=2 localhost 10.0.2.3", check=False, timeout=20)
    assert result.exit.code != 0


async def test_packets_that_have_no_socket_any_more_are_not_taken_for_a_machines(vms: Launcher) -> None:
    await vms.launch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            accepted.setblocking(False)
            sent = accepted.send(bytes(4 << 20))
            accepted.close()  # what is not read yet is now sent without a socket
            client.settimeout(10)
            received = 0
            while data := client.recv(1 << 20):
                received += len(data)
        assert received == sent
