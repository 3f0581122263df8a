"""Try to reach anything but the edge, over any kind of socket."""

from __future__ import annotations

import os
import socket

from tests.adversarial.sandbox.hostile.kit import EGRESS, World, attempt


@attempt
def connect_loopback(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world["port"]), 2):
        pass


@attempt
def send_datagram(world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"hello", ("127.0.0.1", world["port"]))


@attempt
def connect_socket_file(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(world["socket"])


@attempt
def connect_abstract_socket(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect("\0" + world["abstract"])


@attempt
def connect_edge_again(world: World) -> bool:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(world["edge"])
        return True


@attempt
def resolve_a_name(_: World) -> bool:
    return bool(socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))


@attempt
def open_other_sockets(_: World) -> list[str]:
    kinds = {
        "netlink": (socket.AF_NETLINK, socket.SOCK_RAW),
        "raw": (socket.AF_INET, socket.SOCK_RAW),
        "packet": (socket.AF_PACKET, socket.SOCK_RAW),
        "vsock": (socket.AF_VSOCK, socket.SOCK_STREAM),
        "inet6": (socket.AF_INET6, socket.SOCK_STREAM),
        "pair": (socket.AF_UNIX, socket.SOCK_STREAM),
    }
    opened = []
    for name, (family, kind) in kinds.items():
        try:
            socket.socket(family, kind).close()
        except OSError:
            continue
        opened.append(name)
    return opened


@attempt
def pass_a_descriptor_to_the_edge(_: World) -> bool:
    with socket.socket(fileno=os.dup(EGRESS)) as edge:
        return bool(socket.send_fds(edge, [b"GET"], [0]))


@attempt
def take_the_edges_process(_: World) -> bool:
    so_peerpidfd = 77
    with socket.socket(fileno=os.dup(EGRESS)) as edge:
        return edge.getsockopt(socket.SOL_SOCKET, so_peerpidfd) >= 0
