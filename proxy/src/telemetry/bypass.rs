//! Datagrams, which the mesh does not carry, as the kernel counts them for this network namespace.

use std::fs;

use super::labels::Bypassed;

/// Received and sent datagrams of each family and protocol. What the kernel does not show is not there.
pub(super) fn read() -> Vec<(Bypassed, u64)> {
    let v4 = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
    [("udp", "Udp"), ("udplite", "UdpLite")]
        .into_iter()
        .flat_map(|(protocol, kernel)| {
            let counted =
                |family, packets: Option<u64>| Some((Bypassed { family, protocol }, packets?));
            [
                counted("ipv4", in_table(&v4, kernel)),
                counted("ipv6", in_list(&v6, kernel)),
            ]
        })
        .flatten()
        .collect()
}

/// `/proc/net/snmp`: for each protocol one line of names, then one of values.
fn in_table(text: &str, protocol: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| *name == protocol);
    let (names, values) = (lines.next()?.1, lines.next()?.1);
    let value = |wanted: &str| {
        let at = names.split(' ').position(|name| name == wanted)?;
        values.split(' ').nth(at)?.parse::<u64>().ok()
    };
    Some(value("InDatagrams")?.saturating_add(value("OutDatagrams")?))
}

/// `/proc/net/snmp6`: one name and one value a line.
fn in_list(text: &str, protocol: &str) -> Option<u64> {
    let value = |wanted: &str| {
        text.lines()
            .filter_map(|line| line.split_once(char::is_whitespace))
            .find(|(name, _)| {
                name.strip_prefix(protocol)
                    .and_then(|rest| rest.strip_prefix('6'))
                    == Some(wanted)
            })
            .and_then(|(_, value)| value.trim().parse::<u64>().ok())
    };
    Some(value("InDatagrams")?.saturating_add(value("OutDatagrams")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_kernel_are_read() {
        let v4 = "Tcp: InSegs OutSegs\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams\nUdp: 67 1 2 68\n\
                  UdpLite: InDatagrams NoPorts InErrors OutDatagrams\nUdpLite: 3 0 0 4\n";
        let v6 = "Ip6InReceives    \t9\nUdp6InDatagrams                 \t5\nUdp6OutDatagrams   \t6\nUdpLite6InDatagrams \t1\n";
        for (found, packets) in [
            (in_table(v4, "Udp"), Some(135)),
            (in_table(v4, "UdpLite"), Some(7)),
            (in_table(v4, "Sctp"), None),
            (in_table("Udp: InDatagrams\n", "Udp"), None),
            (in_list(v6, "Udp"), Some(11)),
            (in_list(v6, "UdpLite"), None),
        ] {
            assert_eq!(found, packets);
        }
    }

    #[test]
    fn a_datagram_on_loopback_is_counted() {
        let udp = |all: Vec<(Bypassed, u64)>| {
            let v4 = |label: &Bypassed| label.family == "ipv4" && label.protocol == "udp";
            all.into_iter().find(|(label, _)| v4(label)).unwrap().1
        };
        let before = udp(read());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        socket.recv(&mut [0]).unwrap();
        assert!(udp(read()) >= before + 2, "one out, one in");
    }
}
