//! One IPv4 interface: address, default route, resolvers. By ioctl: five calls, where netlink would need a library.

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::ground::Ground;
use crate::request::Request;
use crate::sys;

pub fn configure(request: &Request, ground: &Ground) -> Outcome<Value> {
    ground.allow("network")?;
    let interface = request.optional_text("interface")?.unwrap_or("eth0");
    let (address, prefix) = parse_address(request.text("address")?)?;
    let gateway = match request.optional_text("gateway")? {
        None | Some("") => None,
        Some(gateway) => Some(parse(gateway)?),
    };
    let servers = request.texts("dns")?;
    let mut resolvers = String::new();
    for server in &servers {
        let server: std::net::IpAddr = server
            .parse()
            .map_err(|_| Failure::invalid(format!("'{server}' is not an address of a name server")))?;
        resolvers.push_str(&format!("nameserver {server}\n"));
    }
    if ground.is_guest() {
        let failure = |error: io::Error| Failure::of_io(&format!("network interface {interface}"), &error);
        up("lo").map_err(failure)?;
        set_address(interface, address, prefix).map_err(failure)?;
        if let Some(gateway) = gateway {
            set_default_route(gateway)
                .map_err(|error| Failure::of_io(&format!("default route to {gateway}"), &error))?;
        }
    }
    ground.write("/etc/resolv.conf", &resolvers, 0o644)?;
    Ok(json!({}))
}

fn parse(text: &str) -> Outcome<Ipv4Addr> {
    text.parse()
        .map_err(|_| Failure::invalid(format!("'{text}' is not an IPv4 address")))
}

fn parse_address(text: &str) -> Outcome<(Ipv4Addr, u32)> {
    let wrong = || Failure::invalid(format!("'{text}' is not an IPv4 address with a prefix length"));
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let prefix = prefix.parse().ok().filter(|&prefix| prefix <= 32).ok_or_else(wrong)?;
    Ok((parse(address)?, prefix))
}

fn netmask(prefix: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - prefix).unwrap_or(0))
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is new and ours.
    unsafe {
        let fd = sys::check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn named(interface: &str) -> io::Result<libc::ifreq> {
    let name = CString::new(interface)?;
    let bytes = name.as_bytes_with_nul();
    if bytes.len() > libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: ifreq is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, &byte) in request.ifr_name.iter_mut().zip(bytes) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes of plain data; this is what the kernel expects behind a sockaddr.
    unsafe { std::mem::transmute(inet) }
}

pub fn up(interface: &str) -> io::Result<()> {
    let socket = socket()?;
    let mut request = named(interface)?;
    // SAFETY: the ioctls read and write `request` only; its flags are what SIOCGIFFLAGS fills.
    unsafe {
        sys::check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request))?;
        let wanted = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        if request.ifr_ifru.ifru_flags & wanted != wanted {
            request.ifr_ifru.ifru_flags |= wanted;
            sys::check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request))?;
        }
    }
    Ok(())
}

fn set_address(interface: &str, address: Ipv4Addr, prefix: u32) -> io::Result<()> {
    let socket = socket()?;
    let mut request = named(interface)?;
    // SAFETY: the ioctls read `request` only.
    unsafe {
        request.ifr_ifru.ifru_addr = socket_address(address);
        sys::check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &request))?;
        request.ifr_ifru.ifru_addr = socket_address(netmask(prefix));
        sys::check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFNETMASK, &request))?;
    }
    up(interface)
}

/// Replaces those there are: a restored machine may have one of where it was before.
fn set_default_route(gateway: Ipv4Addr) -> io::Result<()> {
    let socket = socket()?;
    // SAFETY: rtentry is plain data; the ioctls read `route` only.
    unsafe {
        let mut route: libc::rtentry = std::mem::zeroed();
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_flags = libc::RTF_UP;
        for _ in 0..8 {
            if libc::ioctl(socket.as_raw_fd(), libc::SIOCDELRT, &route) != 0 {
                break;
            }
        }
        route.rt_gateway = socket_address(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        sys::check(libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &route)).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_prefix() {
        assert_eq!(parse_address("10.0.2.15/24"), Ok((Ipv4Addr::new(10, 0, 2, 15), 24)));
        for text in [
            "10.0.2.15",
            "10.0.2/24",
            "10.0.2.15/33",
            "10.0.2.15/-1",
            "fe80::1/64",
            "",
        ] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_netmask_has_as_many_bits_as_its_prefix() {
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(netmask(32), Ipv4Addr::BROADCAST);
    }
}
