"""The rules around slots, as nft reads them. Pure. What a machine may reach of the world is in `policy`."""

from hutch.host.network.slot import PREFIX, Plan, Slot
from hutch.host.qemu import guest_network

GUEST = guest_network.ADDRESS.split("/", maxsplit=1)[0]

CONNECTIONS_PER_SECOND = 200
"""New ones that a guest may begin: the table this host keeps of them is shared by all, and their silence lasts."""

CONNECTIONS = 8192
"""Those of a guest that may be open at a time: the same table keeps an idle one for days."""

# All that the guest sends is dropped that is not ARP or IPv4 from its own address: ARP from other ones would fill the
# kernel's table of neighbours, which all namespaces of this box share. The guest sees the service's connections coming
# from its gateway, whatever slot it is in.
_SLOT = """\
table netdev hutch-slot {{
  chain guest {{
    type filter hook ingress device "{tap}" priority filter; policy drop;
    ether type arp arp saddr ip {guest} accept
    ip saddr {guest} accept
  }}
}}
table inet hutch-slot {{
  chain destination {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "{link}" ip saddr {host_side} ip daddr {outside} meta l4proto tcp dnat ip to {guest}
    iifname "{tap}" ip daddr {resolver_seen} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {resolver}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "{link}" oifname "{tap}" ct status dnat accept
    iifname "{tap}" ct state new limit rate over {rate}/second burst {burst} packets drop
    iifname "{tap}" ct state new ct count over {most} drop
    iifname "{tap}" oifname "{link}" accept
  }}
  chain source {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{link}" snat ip to {outside}
    oifname "{tap}" ip saddr {host_side} snat ip to {gateway}
  }}
}}
"""

# Only the service's own user opens connections to guests; guests reach of this host the resolver, of other machines
# nothing, nor what somebody publishes at an address of this host (containers' ports, say). A route back by another link
# than it came from tells a forged source.
_HOST = """\
table inet {name}
delete table inet {name}
table inet {name} {{
  chain forged {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{links}*" fib saddr . iif oif missing drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != "{links}*" accept
    ct state established,related accept
    ip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept
    reject
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "{links}*" ct state established,related accept
    oifname "{links}*" drop
    iifname "{links}*" oifname "{prefix}*" reject
    iifname "{links}*" ct status dnat reject
    iifname "{links}*" meta nfproto ipv6 drop
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    oifname != "{links}*" accept
    ct state established,related accept
    meta skuid {uid} accept
    reject
  }}
  chain source {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != "{prefix}*" masquerade
  }}
}}
"""

FORWARDING = "hutch-forwarding"
"""The table that keeps a box that forwards only for machines from being a router for others."""

GUARD = f"""\
table inet {FORWARDING}
delete table inet {FORWARDING}
table inet {FORWARDING} {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname != "{PREFIX}*" oifname != "{PREFIX}*" drop
  }}
}}
"""


def of_slot(slot: Slot, plan: Plan) -> str:
    """Of one slot's own namespace."""
    return _SLOT.format(
        rate=CONNECTIONS_PER_SECOND,
        burst=10 * CONNECTIONS_PER_SECOND,
        most=CONNECTIONS,
        tap=slot.tap,
        link=slot.link,
        guest=GUEST,
        gateway=guest_network.GATEWAY,
        resolver_seen=guest_network.RESOLVER,
        resolver=plan.resolver,
        outside=slot.outside,
        host_side=slot.host_side,
    )


def table(tag: str) -> str:
    """The name of the host's table of the service with this tag."""
    return f"{tag}-links"


def of_host(plan: Plan, uid: int) -> str:
    """Of this host's own namespace, where the service runs as `uid`; replaces what was there in one step."""
    return _HOST.format(
        name=table(plan.tag),
        links=plan.link_prefix,
        prefix=PREFIX,
        resolver=plan.resolver,
        network=plan.network,
        uid=uid,
    )
