//! Addresses as they are written: what is none is told with what was expected.

use std::net::{IpAddr, SocketAddr};

use serde::de::{Deserialize as _, Deserializer, Error as _};

/// An address with its port.
pub(super) fn socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let refused = || D::Error::custom(format!("expected `ADDRESS:PORT`, found `{text}`; names are not looked up"));
    text.parse().map_err(|_| refused())
}

/// The same, for a key that may be absent.
pub(super) fn optional_socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    socket(deserializer).map(Some)
}

/// An address without a port, for a key that may be absent.
pub(super) fn optional_ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let refused = || D::Error::custom(format!("expected an IP address, found `{text}`; names are not looked up"));
    text.parse().map(Some).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn what_is_no_address_is_told_with_what_was_expected() {
        let said = |text: &str| toml::from_str::<Config>(text).unwrap_err().message().to_owned();
        let expected = "expected `ADDRESS:PORT`, found `localhost:8080`; names are not looked up";
        for (section, key) in
            [("api", "listen"), ("api", "public_listen"), ("event_socket", "listen"), ("event_socket", "freeswitch_outbound")]
        {
            assert_eq!(said(&format!("[{section}]\n{key} = \"localhost:8080\"")), expected, "{section}.{key}");
        }
        let ip = said("[sip]\nexternal_ip = \"pbx.example.net\"");
        assert_eq!(ip, "expected an IP address, found `pbx.example.net`; names are not looked up");
        assert!(toml::from_str::<Config>("[api]\nlisten = \"[::1]:80\"\n[sip]\nexternal_ip = \"::1\"").is_ok());
    }
}
