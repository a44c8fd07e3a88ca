//! From where: security groups, prefix lists and the addresses of emulated interfaces, decided by CIDR sets.
//!
//! Records belong to their owner; this is only the judge. A v4-mapped address is made v4 before anything is asked
//! (attack 41 of the facts), so one rule cannot be dodged by writing the address the other way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

/// A set of address ranges of both families. `aws:SourceIp` conditions use the same matcher.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cidrs {
    nets: Vec<IpNet>,
}

impl Cidrs {
    /// Parses `10.0.0.0/8`, `::1/128`, or an address alone, which is that host. Host bits are ignored, as IAM does.
    ///
    /// # Errors
    /// The text that is neither.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let nets: Result<Vec<_>, _> = texts.into_iter().map(parse_cidr).collect();
        Ok(Self { nets: nets? })
    }

    /// Whether the address is in one of the ranges.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.nets.iter().any(|net| net.contains(&ip))
    }

    /// Whether there is no range at all.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

/// One range; a v4-mapped one is made v4.
///
/// # Errors
/// Names the text that is no range.
pub fn parse_cidr(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("{text:?} is neither an address nor a CIDR range such as 10.0.0.0/8 or ::1/128");
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| wrong())?),
    };
    match (net.addr().to_canonical(), net.addr()) {
        (IpAddr::V4(v4), IpAddr::V6(_)) if net.prefix_len() >= 96 => {
            Ok(ipnet::Ipv4Net::new(v4, net.prefix_len() - 96).map_err(|_| wrong())?.trunc().into())
        }
        _ => Ok(net.trunc()),
    }
}

/// Whom an ingress rule lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Addresses of a range.
    Cidr(IpNet),
    /// Interfaces that belong to a security group.
    Group(Arc<str>),
    /// Addresses of a prefix list.
    PrefixList(Arc<str>),
}

/// One ingress rule: who, to which ports of the cache's listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// Whom it lets in.
    pub peer: Peer,
    /// To which ports, both ends included.
    pub ports: RangeInclusive<u16>,
}

/// Security groups, prefix lists and interfaces: the emulated network of one account.
#[derive(Debug, Clone, Default)]
pub struct Network {
    groups: HashMap<Arc<str>, Vec<Ingress>>,
    prefix_lists: HashMap<Arc<str>, Cidrs>,
    interfaces: HashMap<IpAddr, Vec<Arc<str>>>,
}

impl Network {
    /// Adds a group. A group of the same id is replaced.
    pub fn add_group(&mut self, id: &str, ingress: Vec<Ingress>) {
        self.groups.insert(id.into(), ingress);
    }

    /// Adds a prefix list. A list of the same id is replaced.
    pub fn add_prefix_list(&mut self, id: &str, cidrs: Cidrs) {
        self.prefix_lists.insert(id.into(), cidrs);
    }

    /// Puts the interface that has an address into groups.
    pub fn add_interface(&mut self, address: IpAddr, groups: Vec<Arc<str>>) {
        self.interfaces.entry(address.to_canonical()).or_default().extend(groups);
    }

    /// Whether a group of that id exists.
    pub fn has_group(&self, id: &str) -> bool {
        self.groups.contains_key(id)
    }

    /// Whether a prefix list of that id exists.
    pub fn has_prefix_list(&self, id: &str) -> bool {
        self.prefix_lists.contains_key(id)
    }

    /// Whether something in `groups` lets an address in to a port. Without any group only loopback is let in. Doubt, such
    /// as a group that does not exist, lets nobody in.
    pub fn admits(&self, groups: &[Arc<str>], ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        if groups.is_empty() {
            return ip.is_loopback();
        }
        groups.iter().filter_map(|id| self.groups.get(id)).flatten().any(|rule| self.lets_in(rule, ip, port))
    }

    fn lets_in(&self, rule: &Ingress, ip: IpAddr, port: u16) -> bool {
        rule.ports.contains(&port)
            && match &rule.peer {
                Peer::Cidr(net) => net.contains(&ip),
                Peer::Group(id) => self.interfaces.get(&ip).is_some_and(|groups| groups.contains(id)),
                Peer::PrefixList(id) => self.prefix_lists.get(id).is_some_and(|cidrs| cidrs.contains(ip)),
            }
    }
}

/// Parses `6379`, `6379-6380` or `*`.
///
/// # Errors
/// Names the text that is no port range.
pub fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("{text:?} is no port range: write 6379, 6379-6380 or *");
    if text == "*" {
        return Ok(0..=u16::MAX);
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let low: u16 = low.trim().parse().map_err(|_| wrong())?;
    let high: u16 = high.trim().parse().map_err(|_| wrong())?;
    if low > high { Err(wrong()) } else { Ok(low..=high) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network() -> Network {
        let mut network = Network::default();
        let rule = |peer, ports: &str| Ingress { peer, ports: parse_ports(ports).unwrap() };
        network.add_prefix_list("pl-1", Cidrs::parse(["10.1.0.0/16", "fd00::/8"]).unwrap());
        network.add_interface(ip("127.0.0.5"), vec!["sg-client".into()]);
        network.add_group(
            "sg-app",
            vec![
                rule(Peer::Cidr(parse_cidr("127.0.0.1").unwrap()), "*"),
                rule(Peer::Group("sg-client".into()), "6379"),
                rule(Peer::PrefixList("pl-1".into()), "1-100"),
            ],
        );
        network
    }

    #[test]
    fn a_cache_without_groups_is_for_loopback() {
        let network = Network::default();
        assert!(network.admits(&[], ip("127.9.9.9"), 1));
        assert!(network.admits(&[], ip("::ffff:127.0.0.1"), 1));
        assert!(network.admits(&[], ip("::1"), 1));
        assert!(!network.admits(&[], ip("10.0.0.1"), 1));
    }

    #[test]
    fn rules_let_in_by_range_group_and_prefix_list_on_their_ports() {
        let network = network();
        let groups = ["sg-app".into()];
        assert!(network.admits(&groups, ip("127.0.0.1"), 9));
        assert!(network.admits(&groups, ip("::ffff:127.0.0.1"), 9));
        assert!(!network.admits(&groups, ip("127.0.0.2"), 9));
        assert!(network.admits(&groups, ip("127.0.0.5"), 6379));
        assert!(!network.admits(&groups, ip("127.0.0.5"), 6380));
        assert!(network.admits(&groups, ip("fd00::1"), 100));
        assert!(network.admits(&groups, ip("10.1.2.3"), 1));
        assert!(!network.admits(&groups, ip("10.1.2.3"), 101));
    }

    #[test]
    fn an_unknown_group_lets_nobody_in() {
        assert!(!network().admits(&["sg-none".into()], ip("127.0.0.1"), 1));
    }

    #[test]
    fn ranges_ignore_host_bits_and_refuse_nonsense() {
        assert!(Cidrs::parse(["10.9.9.9/8"]).unwrap().contains(ip("10.0.0.1")));
        assert!(Cidrs::parse(["::ffff:10.0.0.0/104"]).unwrap().contains(ip("10.200.0.1")));
        assert!(Cidrs::parse(["10.0.0.0/33"]).unwrap_err().contains("10.0.0.0/33"));
        assert!(Cidrs::parse(["example.com"]).is_err());
        assert!(Cidrs::default().is_empty());
    }

    #[test]
    fn port_ranges_have_two_ends_in_order() {
        assert_eq!(parse_ports("5-7").unwrap(), 5..=7);
        for wrong in ["7-5", "", "a", "70000", "1-", "-1"] {
            assert!(parse_ports(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
