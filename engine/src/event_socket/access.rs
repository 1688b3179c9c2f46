//! Who may come to the event socket, and what they may do.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Config, EventSocketUser, Net, Secret};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Access {
    password: Arc<Option<Secret>>,
    users: Arc<[EventSocketUser]>,
    allow: Arc<[Net]>,
}

/// What a client may do; `None`: everything of the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// Commands of `api`, in small letters. Without a list, calls can be steered by other means, too.
    pub(super) api: Option<Vec<String>>,
    /// Names of events, in capitals.
    pub(super) events: Option<Vec<String>>,
    pub(super) without_log: bool,
    /// Whose calls there are.
    pub(super) account: Option<Arc<str>>,
}

impl Access {
    pub(super) fn of(config: &Config) -> Self {
        let socket = &config.event_socket;
        Self {
            password: Arc::new(socket.password.clone().filter(|password| !password.is_empty())),
            users: socket.users.clone().into(),
            allow: socket.allow.clone().into(),
        }
    }

    pub(super) fn admits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.allow.iter().any(|net| net.contains(ip))
    }

    /// `auth PASSWORD`
    pub(super) fn opens(&self, offered: &str) -> bool {
        self.password.as_ref().as_ref().is_some_and(|password| password.is(offered))
    }

    /// `userauth NAME[@DOMAIN]:PASSWORD`
    pub(super) fn user(&self, offered: &str) -> Option<Rights> {
        let (name, password) = offered.split_once(':')?;
        let name = name.split('@').next().unwrap_or(name);
        let user = self.users.iter().find(|user| user.name == name)?;
        user.password.is(password).then(|| Rights {
            api: user.api.as_ref().map(|names| names.iter().map(|name| name.to_ascii_lowercase()).collect()),
            events: user.events.as_ref().map(|names| names.iter().map(|name| name.to_ascii_uppercase()).collect()),
            without_log: !user.log,
            account: None,
        })
    }
}

impl Rights {
    /// Whether the command line of `api` or `bgapi` may be carried out.
    pub(super) fn allow_api(&self, line: &str) -> bool {
        let Some(allowed) = &self.api else { return true };
        let mut line = line.trim();
        loop {
            let (command, args) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            if !allowed.iter().any(|name| name.eq_ignore_ascii_case(command)) {
                return false;
            }
            if !command.eq_ignore_ascii_case("sched_api") {
                return true;
            }
            // `sched_api WHEN GROUP COMMAND`: what is done later has to be allowed, too.
            match args.trim().splitn(3, ' ').nth(2) {
                Some(later) => line = later.trim(),
                None => return true,
            }
        }
    }

    /// Whether not every command is allowed.
    pub(super) fn is_restricted(&self) -> bool {
        self.api.is_some()
    }

    /// Whether calls and events may be made otherwise.
    pub(super) fn allow_steering(&self) -> bool {
        self.api.is_none()
    }

    /// The answer to the log-in: one reply of several lines.
    pub(super) fn reply(&self) -> String {
        let list = |names: &Option<Vec<String>>| names.as_ref().map_or_else(|| "all".to_owned(), |names| names.join(" "));
        let log = if self.without_log { "false" } else { "true" };
        format!(
            "Content-Type: command/reply\nReply-Text: +OK accepted\nAllowed-Events: {}\nAllowed-API: {}\nAllowed-LOG: {log}\n\n",
            list(&self.events),
            list(&self.api)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let text = "[event_socket]\n[[event_socket.user]]\nname = \"watch\"\npassword = \"p:w\"\napi = [\"Status\"]\nevents = [\"heartbeat\"]\n";
        Access::of(&toml::from_str(text).unwrap())
    }

    #[test]
    fn a_user_logs_in_by_name_and_password() {
        let access = access();
        assert!(access.user("watch:p:w").is_some());
        assert!(access.user("watch@example.com:p:w").is_some());
        for wrong in ["watch:p", "watch:", "watch", "other:p:w", ":p:w", ""] {
            assert_eq!(access.user(wrong), None, "{wrong}");
        }
        assert!(!access.opens(""), "there is no password without a name");
    }

    #[test]
    fn what_is_scheduled_has_to_be_allowed_too() {
        let rights = Rights { api: Some(vec!["sched_api".into(), "status".into()]), ..Rights::default() };
        for (line, allowed) in [
            ("sched_api +1 g status", true),
            ("sched_api +1 g sched_api +1 g status", true),
            ("sched_api", true),
            ("sched_api +1 g originate user/1 &park", false),
            ("SCHED_API +1 g  originate user/1 &park", false),
            (" sched_api +1 g sched_api +1 g hupall", false),
            ("sched_api  +1 g hupall", false),
            ("sched_api\t+1 g hupall", false),
        ] {
            assert_eq!(rights.allow_api(line), allowed, "{line}");
        }
    }

    #[test]
    fn a_user_may_do_what_is_listed() {
        let rights = access().user("watch:p:w").unwrap();
        assert!(rights.allow_api("status") && !rights.allow_api("originate user/1 &park") && !rights.allow_api(""));
        assert!(!rights.allow_steering() && rights.without_log);
        assert_eq!(rights.events, Some(vec!["HEARTBEAT".to_owned()]));
        assert!(Rights::default().allow_api("originate x") && Rights::default().allow_steering());
    }
}
