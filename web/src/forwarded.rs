// SPDX-License-Identifier: Apache-2.0
//! Who called, seen through the proxies that are trusted to say so.
//!
//! Anybody can write `X-Forwarded-For`. So it is read from right to left, beginning with the peer itself, and
//! only for as long as each hop is a proxy that the operator has named: the first address that is not one is
//! the client, and what stands left of it is what the client made up.
//!
//! ```text
//! X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.7      peer 10.0.0.5, trusted 10.0.0.0/8
//!                  made up  the client   a proxy            a proxy
//! ```

use std::net::IpAddr;
use std::str::FromStr;

use actix_web::http::header::HeaderMap;
use jobbie_actors::ports::Lane;

use crate::shares::network;

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("a network is an address and a length, as in 10.0.0.0/8 or fd00::/8, not {text}");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = width(address);
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        let network = Self { first: address, bits };
        if prefix(address, bits) != number(address) {
            return Err(format!("{text} has bits behind its length; {}/{bits} is meant?", network.start()));
        }
        Ok(network)
    }
}

impl Network {
    /// True if an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && prefix(address, self.bits) == number(self.first)
    }

    fn start(&self) -> IpAddr {
        let start = prefix(self.first, self.bits);
        match self.first {
            IpAddr::V4(_) => IpAddr::from(u32::try_from(start).unwrap_or_default().to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(start.to_be_bytes()),
        }
    }
}

const fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first bits of an address, the others zero.
fn prefix(address: IpAddr, bits: u32) -> u128 {
    let behind = width(address) - bits;
    number(address).checked_shr(behind).unwrap_or_default().checked_shl(behind).unwrap_or_default()
}

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Network>);

/// Where a call comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub client: IpAddr,
    /// Whether the client speaks TLS, to this server or to a proxy in front of it.
    pub secure: bool,
    /// The host that the client asked for, if a proxy says so.
    pub host: Option<String>,
    /// Whether a proxy speaks for many, and has not said for whom this time.
    pub is_proxy: bool,
}

impl Origin {
    /// Where its commands wait: behind those of the same client, and of the same connection.
    #[must_use]
    pub fn lane(&self, connection: u64) -> Lane {
        let bits = match network(self.client) {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64).unwrap_or_default(),
        };
        // Never 0, which is the broker.
        Lane { client: bits | 1 << 63, connection }
    }

    /// The client as one that has its share; `None` for a proxy that speaks for many.
    #[must_use]
    pub fn one(&self) -> Option<IpAddr> {
        (!self.is_proxy).then_some(self.client)
    }
}

/// What one kind of header says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    client: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl Proxies {
    /// Believes these.
    #[must_use]
    pub fn new(trusted: Vec<Network>) -> Self {
        Self(trusted)
    }

    /// True if what comes from there is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Where a call comes from.
    #[must_use]
    pub fn origin(&self, peer: IpAddr, secure: bool, headers: &HeaderMap) -> Origin {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Origin { client: peer, secure, host: None, is_proxy: false };
        }
        let (standard, usual) = (self.standard(headers), self.usual(headers));
        // A proxy that knows one kind passes the other on as the client wrote it. Where they name different
        // clients nobody can tell which is true, so neither is believed.
        let told = match (standard, usual) {
            (Some(standard), Some(usual)) if standard.client != usual.client => Told::default(),
            (Some(standard), Some(usual)) => Told {
                client: usual.client,
                proto: standard.proto.or(usual.proto),
                host: standard.host.or(usual.host),
            },
            (standard, usual) => standard.or(usual).unwrap_or_default(),
        };
        Origin {
            client: told.client.unwrap_or(peer),
            secure: told.proto.map_or(secure, |proto| proto.eq_ignore_ascii_case("https")),
            host: told.host,
            is_proxy: told.client.is_none(),
        }
    }

    /// The first hop from the right that is no proxy, with its place; what cannot be read ends the search.
    fn first_other<'a>(&self, hops: impl DoubleEndedIterator<Item = &'a str>) -> Option<(usize, IpAddr)> {
        let mut last = None;
        for (place, hop) in hops.rev().enumerate() {
            let Some(address) = address(hop) else { return last };
            last = Some((place, address));
            if !self.trusts(address) {
                break;
            }
        }
        last
    }

    /// `Forwarded`, as RFC 7239 has it.
    fn standard(&self, headers: &HeaderMap) -> Option<Told> {
        let lines = all(headers, "forwarded")?;
        let elements: Vec<&str> = split(&lines, ',').collect();
        let hop = |element: &&'_ str| pair(element, "for").unwrap_or_default();
        let hops: Vec<String> = elements.iter().map(hop).collect();
        let (place, client) = self.first_other(hops.iter().map(String::as_str))?;
        let element = elements[elements.len() - 1 - place];
        Some(Told { client: Some(client), proto: pair(element, "proto"), host: pair(element, "host") })
    }

    /// `X-Forwarded-For`, `-Proto` and `-Host`, as everybody writes them. Of several values of the latter two
    /// the last counts: the nearest proxy's.
    fn usual(&self, headers: &HeaderMap) -> Option<Told> {
        let last = |name| {
            let lines = all(headers, name)?;
            lines.rsplit(',').next().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let (proto, host) = (last("x-forwarded-proto"), last("x-forwarded-host"));
        let lines = all(headers, "x-forwarded-for");
        let client = lines.and_then(|lines| self.first_other(lines.split(',')).map(|(_, client)| client));
        if client.is_none() && proto.is_none() && host.is_none() {
            return None;
        }
        Some(Told { client, proto, host })
    }
}

/// All lines of a header as one.
fn all(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut whole: Option<String> = None;
    for value in headers.get_all(name) {
        let value = value.to_str().unwrap_or("?");
        match &mut whole {
            Some(whole) => {
                whole.push(',');
                whole.push_str(value);
            }
            None => whole = Some(value.to_owned()),
        }
    }
    whole
}

/// The parts between separators that are not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .map(str::trim)
}

/// A value of `name=value;name="value"`.
fn pair(element: &str, name: &str) -> Option<String> {
    split(element, ';').find_map(|part| {
        let (known, value) = part.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// An address, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = match hop.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match hop.split_once(':') {
            // One colon is a port's, several are those of IPv6.
            Some((v4, port)) if !port.contains(':') => v4,
            _ => hop,
        },
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn origin(peer: &str, headers: &[(&'static str, &str)]) -> Origin {
        let trusted = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"].map(|text| text.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Proxies::new(trusted.into()).origin(peer.parse().unwrap(), false, &map)
    }

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        origin(peer, headers).client.to_string()
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        let said = [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1;proto=https;host=evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
        ];
        let found = origin("203.0.113.9", &said);
        assert_eq!(
            found,
            Origin { client: [203, 0, 113, 9].into(), secure: false, host: None, is_proxy: false }
        );
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        let xff = |value| client("10.0.0.5", &[("x-forwarded-for", value)]);
        assert_eq!(xff("203.0.113.9"), "203.0.113.9");
        assert_eq!(xff("6.6.6.6, 203.0.113.9, 10.0.0.7"), "203.0.113.9");
        assert_eq!(xff("10.9.9.9, 203.0.113.9"), "203.0.113.9");
        assert_eq!(xff("203.0.113.9:4711"), "203.0.113.9");
        assert_eq!(xff("[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(xff("2001:db8::1"), "2001:db8::1");
        assert_eq!(xff("10.1.1.1, 10.0.0.7"), "10.1.1.1", "a client inside");
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(client("::ffff:10.0.0.5", &lines), "203.0.113.9");
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        let xff = |value| client("10.0.0.5", &[("x-forwarded-for", value)]);
        assert_eq!(xff("1.1.1.1, unknown"), "10.0.0.5");
        assert_eq!(xff("1.1.1.1, , 10.0.0.7"), "10.0.0.7");
        assert_eq!(xff("1.1.1.1; DROP TABLE, 10.0.0.7"), "10.0.0.7");
        assert_eq!(xff(""), "10.0.0.5");
        assert!(origin("10.0.0.5", &[("x-forwarded-for", "x")]).is_proxy);
    }

    #[test]
    fn the_standard_header_says_more() {
        let found = origin(
            "10.0.0.5",
            &[(
                "forwarded",
                r#"for=6.6.6.6, For="[2001:db8::1]:47";Proto=https;host="a,b", for=10.0.0.7;proto=http"#,
            )],
        );
        assert_eq!((found.client.to_string().as_str(), found.secure), ("2001:db8::1", true));
        assert_eq!(found.host.as_deref(), Some("a,b"));
        assert_eq!(client("10.0.0.5", &[("forwarded", "for=_hidden")]), "10.0.0.5");
        assert_eq!(client("10.0.0.5", &[("forwarded", "proto=https")]), "10.0.0.5");
    }

    #[test]
    fn headers_that_contradict_each_other_are_not_believed() {
        let both = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=6.6.6.6;proto=https")];
        let found = origin("10.0.0.5", &both);
        assert_eq!(
            (found.client.to_string().as_str(), found.secure, found.is_proxy),
            ("10.0.0.5", false, true)
        );
        let same = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9;proto=https")];
        let found = origin("10.0.0.5", &same);
        assert_eq!((found.client.to_string().as_str(), found.secure), ("203.0.113.9", true));
    }

    #[test]
    fn the_nearest_proxy_says_how_it_was_asked() {
        let said = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "http, https"),
            ("x-forwarded-host", "jobs.example"),
        ];
        let found = origin("10.0.0.5", &said);
        assert_eq!((found.secure, found.host.as_deref()), (true, Some("jobs.example")));
    }

    #[test]
    fn networks_are_read() {
        let network = |text: &str| text.parse::<Network>();
        assert!(network("0.0.0.0/0").unwrap().contains([9, 9, 9, 9].into()));
        assert!(!network("0.0.0.0/0").unwrap().contains("::1".parse().unwrap()));
        assert!(network("::/0").unwrap().contains("::1".parse().unwrap()));
        assert!(network("10.0.0.1").unwrap().contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!network("10.0.0.0/9").unwrap().contains([10, 128, 0, 0].into()));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "x/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(network(bad).is_err(), "{bad}");
        }
        assert!(network("10.0.0.1/8").unwrap_err().contains("10.0.0.0/8"));
    }
}
