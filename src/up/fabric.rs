//! The network between the pods: a bridge in a namespace of its own, and a cable to each pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Context;
use nix::net::if_::if_nametoindex;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::plan::{Addresses, GATEWAY_V4, GATEWAY_V6};

const BRIDGE: &str = "palisade";
const POD_LINK: &str = "eth0";
const V4_PREFIX: u8 = 16;
const V6_PREFIX: u8 = 64;

/// Netlink of the network namespace in which this process is now.
pub(crate) fn netlink() -> anyhow::Result<Handle> {
    let (connection, handle, _messages) =
        rtnetlink::new_connection().context("cannot speak netlink")?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Whether the kernel has IPv6 for this network namespace.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").is_dir()
}

/// Settings of a network namespace of ours, before it has a link.
pub(crate) fn settle_network() -> anyhow::Result<()> {
    // Applications bind low ports without a capability over the pod's network.
    sysctl("net/ipv4/ip_unprivileged_port_start", "0")?;
    // A proxy is one client for all of its application's clients: without this, the ports of closed connections
    // are taken for a minute, and some 470 short connections a second are all that a pod ever takes.
    sysctl("net/ipv4/tcp_tw_reuse", "1")?;
    if has_ipv6() {
        // No duplicate can exist, and waiting for one would delay every start by a second.
        for link in ["all", "default"] {
            sysctl(&format!("net/ipv6/conf/{link}/accept_dad"), "0")?;
            sysctl(&format!("net/ipv6/conf/{link}/accept_ra"), "0")?;
        }
    }
    Ok(())
}

fn sysctl(name: &str, value: &str) -> anyhow::Result<()> {
    std::fs::write(Path::new("/proc/sys").join(name), value)
        .with_context(|| format!("cannot set {name}"))
}

/// The bridge, with the gateway's addresses.
pub(crate) async fn make_bridge(netlink: &Handle) -> anyhow::Result<()> {
    loopback_up(netlink).await?;
    let link = LinkBridge::new(BRIDGE).up().build();
    let made = netlink.link().add(link).execute().await;
    made.context("cannot make a bridge (kernel module bridge)")?;
    add_addresses(
        netlink,
        BRIDGE,
        Addresses {
            v4: GATEWAY_V4,
            v6: GATEWAY_V6,
        },
    )
    .await
}

/// A cable from the bridge into the network namespace of a pod's process.
pub(crate) async fn plug(netlink: &Handle, number: u16, pod_pid: u32) -> anyhow::Result<()> {
    let (ours, theirs) = (format!("pod{number}"), format!("peer{number}"));
    let link = LinkVeth::new(&ours, &theirs).build();
    let made = netlink.link().add(link).execute().await;
    made.context("cannot make a cable (kernel module veth)")?;
    let bridge = index(BRIDGE)?;
    let near = LinkUnspec::new_with_index(index(&ours)?)
        .controller(bridge)
        .up();
    netlink
        .link()
        .set(near.build())
        .execute()
        .await
        .context("cannot plug into the bridge")?;
    let far = LinkUnspec::new_with_index(index(&theirs)?)
        .name(POD_LINK)
        .setns_by_pid(pod_pid);
    netlink
        .link()
        .set(far.build())
        .execute()
        .await
        .context("cannot plug into the pod")
}

/// The pod's end of the cable, set up from inside the pod.
pub(crate) async fn set_up_pod(addresses: Addresses) -> anyhow::Result<()> {
    let netlink = netlink()?;
    loopback_up(&netlink).await?;
    let link = LinkUnspec::new_with_index(index(POD_LINK)?).up().build();
    netlink
        .link()
        .set(link)
        .execute()
        .await
        .context("cannot set eth0 up")?;
    add_addresses(&netlink, POD_LINK, addresses).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(GATEWAY_V4)
        .build();
    netlink
        .route()
        .add(route)
        .execute()
        .await
        .context("cannot route IPv4")?;
    if has_ipv6() {
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(GATEWAY_V6)
            .build();
        netlink
            .route()
            .add(route)
            .execute()
            .await
            .context("cannot route IPv6")?;
    }
    Ok(())
}

async fn loopback_up(netlink: &Handle) -> anyhow::Result<()> {
    let link = LinkUnspec::new_with_index(index("lo")?).up().build();
    netlink
        .link()
        .set(link)
        .execute()
        .await
        .context("cannot set lo up")
}

async fn add_addresses(netlink: &Handle, link: &str, own: Addresses) -> anyhow::Result<()> {
    let index = index(link)?;
    let mut addresses: Vec<(IpAddr, u8)> = vec![(own.v4.into(), V4_PREFIX)];
    if has_ipv6() {
        addresses.push((own.v6.into(), V6_PREFIX));
    }
    for (address, prefix) in addresses {
        let added = netlink
            .address()
            .add(index, address, prefix)
            .execute()
            .await;
        added.with_context(|| format!("cannot give {address} to {link}"))?;
    }
    Ok(())
}

fn index(link: &str) -> anyhow::Result<u32> {
    if_nametoindex(link).with_context(|| format!("there is no link {link}"))
}
