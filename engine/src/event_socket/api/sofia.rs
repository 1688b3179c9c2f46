//! `sofia status [profile internal [reg]|gateway NAME]`, `sofia_contact`.

use std::fmt::Write as _;

use lockstep_sip::outbound_registration::Standing;

use crate::core::{EngineError, GatewayStanding};
use crate::event_socket::hub::Hub;

/// What gateways' names begin with in lists.
const PROFILE: &str = "internal::";
const RULE: &str = "=================================================================================================\n";

pub(super) async fn sofia(hub: &Hub, args: &str) -> Result<String, EngineError> {
    let words: Vec<&str> = args.split_whitespace().collect();
    match words.as_slice() {
        ["status"] => overview(hub).await,
        ["status", "profile", "internal"] => profile(hub).await,
        ["status", "profile", "internal", "reg" | "user", ..] => registrations(hub).await,
        ["status", "profile", name, ..] => Ok(format!("Invalid Profile [{name}]\n")),
        ["status", "gateway", name] => gateway(hub, name.strip_prefix(PROFILE).unwrap_or(name)).await,
        _ => super::usage("sofia status [profile internal [reg]|gateway <name>]"),
    }
}

/// How a gateway stands, in FreeSWITCH's words: its registration, and whether calls can go there.
fn standing(gateway: &GatewayStanding) -> (&'static str, &'static str) {
    let state = match gateway.registration {
        None => "NOREG",
        Some(Standing::Unregistered) => "UNREGED",
        Some(Standing::Trying) => "TRYING",
        Some(Standing::Registered) => "REGED",
        Some(Standing::Failed) => "FAIL_WAIT",
        Some(Standing::Unregistering) => "UNREGISTER",
    };
    let is_up = gateway.is_up && matches!(gateway.registration, None | Some(Standing::Registered));
    (state, if is_up { "UP" } else { "DOWN" })
}

async fn gateway(hub: &Hub, name: &str) -> Result<String, EngineError> {
    let known = hub.engine.gateways().await?;
    let found = known.iter().find(|gateway| gateway.id.to_string() == name).map(standing);
    let Some((host, (state, status))) = hub.gateway(name).zip(found) else { return Ok("Invalid Gateway!\n".to_owned()) };
    Ok(format!("{RULE}Name    \t{name}\nProxy   \tsip:{host}\nState   \t{state}\nStatus  \t{status}\n{RULE}"))
}

async fn overview(hub: &Hub) -> Result<String, EngineError> {
    let mut text = format!("{:>25}\t{:>7}\t{:>42}\tState\n{RULE}", "Name", "Type", "Data");
    let addresses = hub.engine.sip_addresses();
    for (at, address) in addresses.iter().enumerate() {
        let (protocol, address) = address.split_once(':').unwrap_or(("udp", address));
        let name = if at == 0 { "internal".to_owned() } else { format!("internal-{protocol}-{at}") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:>25}\t{:>7}\t{:>42}\tRUNNING (0)", "profile", format!("sip:lockstep@{address}"));
    }
    for known in hub.engine.gateways().await? {
        let name = known.id.to_string();
        let Some(host) = hub.gateway(&name) else { continue };
        let (state, _) = standing(&known);
        let _ = writeln!(text, "{:>25}\t{:>7}\t{:>42}\t{state}", format!("{PROFILE}{name}"), "gateway", format!("sip:{host}"));
    }
    let _ = write!(text, "{RULE}{} profile{} 0 aliases\n\n", addresses.len(), if addresses.len() == 1 { "" } else { "s" });
    Ok(text)
}

async fn profile(hub: &Hub) -> Result<String, EngineError> {
    let calls = hub.engine.channels().await?;
    let (out, inbound): (Vec<_>, Vec<_>) = calls.iter().partition(|channel| channel.outbound);
    let registered = hub.engine.registrations().await?.len();
    let address = hub.engine.sip_addresses().first().map_or("", |address| address.split_once(':').map_or("", |(_, rest)| rest));
    let mut text = RULE.to_owned();
    for (name, value) in [
        ("Name", "internal".to_owned()),
        ("Domain Name", hub.identity.realm.clone()),
        ("SIP-IP", address.rsplit_once(':').map_or("", |(ip, _)| ip).to_owned()),
        ("URL", format!("sip:lockstep@{address}")),
        ("BIND-URL", format!("sip:lockstep@{address}")),
        ("CALLS-IN", inbound.len().to_string()),
        ("CALLS-OUT", out.len().to_string()),
        ("REGISTRATIONS", registered.to_string()),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<16}\t{value}");
    }
    text.push_str(RULE);
    Ok(text)
}

async fn registrations(hub: &Hub) -> Result<String, EngineError> {
    let registrations = hub.engine.registrations().await?;
    let mut text = format!("\nRegistrations:\n{RULE}");
    for registration in &registrations {
        for (name, value) in [
            ("User", format!("{}@{}", registration.user, hub.identity.realm)),
            ("Contact", registration.contact.clone()),
            ("Agent", registration.user_agent.clone().unwrap_or_default()),
            ("Status", format!("Registered(UDP)(unknown) EXPSECS({})", registration.expires_s)),
            ("IP", registration.remote.ip().to_string()),
            ("Port", registration.remote.port().to_string()),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}:    \t{value}");
        }
        text.push('\n');
    }
    let _ = write!(text, "Total items returned: {}\n{RULE}", registrations.len());
    Ok(text)
}

/// `sofia_contact [PROFILE/]USER[@HOST]`: where a user can be dialled.
pub(super) async fn contact(hub: &Hub, args: &str) -> Result<String, EngineError> {
    let user = args.rsplit('/').next().unwrap_or(args);
    let user = user.split('@').next().unwrap_or(user);
    let registered = hub.engine.registrations().await?.iter().any(|registration| registration.user == user);
    Ok(if registered { format!("user/{user}") } else { "error/user_not_registered".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_to_a_gateway_that_answers_and_knows_us() {
        for (registration, is_up, told) in [
            (None, true, ("NOREG", "UP")),
            (None, false, ("NOREG", "DOWN")),
            (Some(Standing::Registered), true, ("REGED", "UP")),
            (Some(Standing::Registered), false, ("REGED", "DOWN")),
            (Some(Standing::Trying), true, ("TRYING", "DOWN")),
            (Some(Standing::Failed), true, ("FAIL_WAIT", "DOWN")),
        ] {
            assert_eq!(standing(&GatewayStanding { id: 7, registration, is_up }), told);
        }
    }
}
