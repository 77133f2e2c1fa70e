//! Where to send: `host:port` or a URL, taken apart.

use std::fmt;

use super::options::Protocol;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the connection is encrypted.
    pub is_tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path of the URL without a slash at the end; mostly empty.
    pub path: String,
}

impl Endpoint {
    /// Reads `text`; without `http://` or `https://` in front `is_tls` decides, without a port the protocol.
    ///
    /// # Errors
    /// In words, if it is no endpoint.
    pub fn parse(text: &str, is_tls: bool, protocol: Option<Protocol>) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no endpoint; write host:port, http://host:port or https://host:port");
        let (is_tls, rest) = match text.split_once("://") {
            None => (is_tls, text),
            Some(("http" | "grpc", rest)) => (false, rest),
            Some(("https" | "grpcs", rest)) => (true, rest),
            Some(_) => return Err(wrong()),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_odd_letters =
            |text: &str| text.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#@".contains(&byte));
        if has_odd_letters(authority) || has_odd_letters(path) {
            return Err(wrong());
        }
        let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match port_at {
            Some(at) => (&authority[..at], authority[at + 1..].parse().map_err(|_| wrong())?),
            None => (authority, default_port(is_tls, protocol)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { is_tls, host: host.to_owned(), port, path: path.trim_end_matches('/').to_owned() })
    }

    /// Returns `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn default_port(is_tls: bool, protocol: Option<Protocol>) -> u16 {
    match protocol {
        Some(Protocol::OtlpGrpc) => 4317,
        Some(Protocol::OtlpHttp) => 4318,
        Some(Protocol::Flight) => 8815,
        Some(Protocol::RemoteWrite | Protocol::RemoteWriteV2) => 9090,
        None if is_tls => 443,
        None => 80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, is_tls: bool) -> String {
        Endpoint::parse(text, is_tls, Some(Protocol::OtlpGrpc)).unwrap().to_string()
    }

    #[test]
    fn endpoints_have_a_scheme_a_port_and_perhaps_a_path() {
        assert_eq!(parsed("api.example.org:443", true), "https://api.example.org:443");
        assert_eq!(parsed("localhost", false), "http://localhost:4317");
        assert_eq!(parsed("http://localhost:1", true), "http://localhost:1", "the URL decides");
        assert_eq!(parsed("https://h:2/a/b/", false), "https://h:2/a/b");
        assert_eq!(parsed("[::1]:4317", false), "http://[::1]:4317");
        assert_eq!(Endpoint::parse("https://h", false, None).unwrap().port, 443);
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in ["", ":4317", "ftp://h:1", "h:port", "h:70000", "http://", "h:1/a?b", "user@h:1", "h h:1"]
        {
            assert!(Endpoint::parse(text, false, None).is_err(), "{text:?}");
        }
    }
}
