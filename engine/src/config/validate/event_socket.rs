//! `[event_socket]`.

use super::{Report, Step, item, section};
use crate::config::{Config, Secret};

pub(super) fn event_socket(config: &Config, report: &mut Report) {
    let socket = &config.event_socket;
    let nobody = socket.password.as_ref().is_none_or(Secret::is_empty) && socket.users.is_empty();
    if socket.listen.is_some() && nobody {
        report.error(section("event_socket", "listen"), "expected `password`: without one there is no socket");
    }
    if socket.password.as_ref().is_some_and(is_torn) {
        report.error(section("event_socket", "password"), "expected one line: nobody could log in with another one");
    }
    report.duplicates("event_socket.user", "name", socket.users.iter().map(|user| &user.name));
    for (index, user) in socket.users.iter().enumerate() {
        let path = |key: &str| {
            let mut path = item(section("event_socket", "user"), index);
            path.push(Step::Key(key.to_owned()));
            path
        };
        // `userauth NAME[@DOMAIN]:PASSWORD`
        if user.name.is_empty() || user.name.contains(|c: char| c == ':' || c == '@' || c.is_control()) {
            report.error(path("name"), format!("expected a name without `:` and `@`, found {:?}", user.name));
        }
        if user.password.is_empty() || is_torn(&user.password) {
            report.error(path("password"), "expected a password of one line");
        }
    }
}

/// Whether it does not fit in a line of a client's.
fn is_torn(password: &Secret) -> bool {
    password.expose().contains(['\r', '\n'])
}
