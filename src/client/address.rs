// SPDX-License-Identifier: Apache-2.0
//! Where the server is: `http[s]://host[:port][/prefix]`, and how names go into a path.

use super::Error;

/// A parsed server address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Whether it is reached over TLS.
    pub is_secure: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What comes before `/api/v1`: empty, or `/something` when the server has a `--base-path`.
    pub prefix: String,
}

impl Base {
    /// Reads an address; the scheme may be left out.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Address(format!("{url:?} is not a server address: {why}"));
        let (is_secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong("it must start with http:// or https://")),
            None => (false, url),
        };
        if rest.bytes().any(|b| b <= b' ' || b == 0x7f || matches!(b, b'?' | b'#' | b'@')) {
            return Err(wrong("expected http://host:port or http://host:port/base-path"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let port = match port {
            None if is_secure => 443,
            None => 80,
            Some(text) => text.parse().map_err(|_| wrong("the port is not a number below 65536"))?,
        };
        let path = path.trim_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { is_secure, host: host.to_owned(), port, prefix })
    }

    /// `host:port`, as in the `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The address as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// One path segment or query value, percent-encoded.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, u16, String) {
        let base = Base::parse(url).unwrap();
        (base.host, base.port, base.prefix)
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(parsed("http://127.0.0.1:8080"), ("127.0.0.1".into(), 8080, String::new()));
        assert_eq!(parsed("jobs.example:9000/"), ("jobs.example".into(), 9000, String::new()));
        assert_eq!(parsed("http://jobs/x/y/"), ("jobs".into(), 80, "/x/y".into()));
        assert_eq!(parsed("http://[::1]:8080"), ("::1".into(), 8080, String::new()));
        assert_eq!(Base::parse("http://[::1]:8080/a").unwrap().url(), "http://[::1]:8080/a");
        let secure = Base::parse("https://jobs.example/a").unwrap();
        assert_eq!((secure.url().as_str(), secure.is_secure), ("https://jobs.example:443/a", true));
    }

    #[test]
    fn wrong_addresses_are_refused() {
        for url in
            ["ftp://x", "http://", "http://a:b", "http://u@h", "http://h/?q", "http://[::1", "http://h h"]
        {
            assert!(Base::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(segment("mail.high:1_a-b"), "mail.high:1_a-b");
        assert_eq!(segment("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
    }
}
