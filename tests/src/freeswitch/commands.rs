//! The commands of `api` that the stand-in knows.

use super::arguments::separate;
use super::channel::Channel;

impl Channel {
    /// Answers a command.
    pub(super) fn api(&mut self, line: &str) -> String {
        let (command, args) = line.split_once(' ').unwrap_or((line, ""));
        let words = separate(args, ' ', if command == "uuid_setvar" { 3 } else { 5 });
        let word = |at: usize| words.get(at).map_or("", String::as_str).to_owned();
        let is_own = word(0) == self.setup.uuid;
        let missing = "-ERR No such channel!\n".to_owned();
        match command {
            "uuid_exists" => format!("{}", is_own && !self.is_over),
            "uuid_kill" if is_own && !self.is_over => {
                let cause = word(1);
                self.hang_up(if cause.is_empty() { "NORMAL_CLEARING" } else { &cause });
                "+OK\n".to_owned()
            }
            "uuid_kill" => {
                if self.end_leg(&word(0), &word(1)) {
                    "+OK\n".to_owned()
                } else {
                    missing
                }
            }
            _ if !is_own || self.is_over => {
                if !command.starts_with("uuid_") {
                    self.incidents.push(format!("api {line}"));
                }
                missing
            }
            "uuid_setvar" => {
                match word(2) {
                    value if value.is_empty() => self.variables.remove(&word(1)),
                    value => self.variables.insert(word(1), value),
                };
                "+OK\n".to_owned()
            }
            "uuid_dump" => self.event("CHANNEL_DATA").to_plain(),
            "uuid_getvar" => self.variable(&word(1)).unwrap_or("_undef_").to_owned(),
            "uuid_break" => {
                self.break_top();
                "+OK\n".to_owned()
            }
            "uuid_record" => self.record(&word(1), &word(2)),
            _ => {
                self.incidents.push(format!("api {line}"));
                format!("-ERR {command} Command not found!\n")
            }
        }
    }

    pub(super) fn end_leg_by(&mut self, uuid: &str) {
        let uuid = uuid.to_owned();
        if self.end_leg(&uuid, "NORMAL_CLEARING") {
            self.reply("+OK");
        } else {
            self.reply(&format!("-ERR invalid session id [{uuid}]"));
        }
    }
}
