//! `play_and_get_digits`, `read`, `send_dtmf`, `block_dtmf`.

use lockstep_ctx_api::op::{BlockDtmfArgs, GatherArgs, Op, Prompt, SendDtmfArgs};
use lockstep_ctx_api::outcome::CollectStatus;
use lockstep_ctx_api::{OpResult, Outcome};

use super::{Call, Plan, words};
use crate::core::Consequences;
use crate::event_socket::files;

/// The longest wait for a key, in milliseconds.
const MAX_WAIT_MS: u64 = 3_600_000;
/// The most keys one operation collects.
const MAX_DIGITS: u32 = 128;
/// Files of a prompt, repeats included.
const MAX_FILES: usize = 64;

impl Call<'_> {
    pub(super) fn digits(&self) -> Plan {
        match self.application {
            "play_and_get_digits" => self.play_and_get_digits(),
            "read" => self.read(),
            "send_dtmf" => {
                let (digits, duration) = self.data.split_once('@').unwrap_or((&self.data, ""));
                let duration_ms = duration.trim().parse().unwrap_or(100).clamp(40, 6_000);
                let digits = digits.trim().to_owned();
                Plan::operation(Op::SendDtmf(SendDtmfArgs { digits, duration_ms, gap_ms: 100, method: None }))
            }
            "block_dtmf" => Plan::operation(Op::BlockDtmf(BlockDtmfArgs { digits: "0123456789*#ABCD".to_owned() })),
            "unblock_dtmf" => Plan::operation(Op::UnblockDtmf),
            _ => Plan::nothing(),
        }
    }

    /// `min max tries timeout terminators file invalid_file variable regexp [digit_timeout [transfer_on_failure]]`
    fn play_and_get_digits(&self) -> Plan {
        let words = words(&self.data);
        let word = |at: usize| words.get(at).map_or("", String::as_str);
        let Some(wait) = word(3).parse::<u64>().ok() else { return Plan::nothing() };
        let args = GatherArgs {
            prompt: prompt(word(5)),
            invalid_prompt: prompt(word(6)),
            min: word(0).parse().unwrap_or(0).min(MAX_DIGITS),
            max: word(1).parse().unwrap_or(MAX_DIGITS).clamp(1, MAX_DIGITS),
            terminators: terminators(word(4)),
            timeout_ms: wait.min(MAX_WAIT_MS),
            inter_digit_timeout_ms: word(9).parse().unwrap_or(wait).min(MAX_WAIT_MS),
            regexp: Some(word(8)).filter(|text| !text.is_empty()).map(anywhere),
            tries: word(2).parse().unwrap_or(1).clamp(1, 100),
            barge_in: true,
            flush: false,
            speech: None,
        };
        let variable = word(7).to_owned();
        Plan::with(Op::Gather(args), move |result| {
            let Ok(Outcome::Gathered(gathered)) = result else { return Consequences::default() };
            let found = gathered.status == CollectStatus::Success;
            let digits = Some(gathered.digits.clone()).filter(|digits| !digits.is_empty());
            let mut vars = vec![("read_terminator_used".to_owned(), gathered.terminator.map(|key| key.to_string()))];
            if !variable.is_empty() {
                vars.push((format!("{variable}_invalid"), digits.clone().filter(|_| !found)));
                vars.push((variable, digits.filter(|_| found)));
            }
            Consequences { vars, response: None }
        })
    }

    /// `min max file variable timeout terminators [digit_timeout]`
    fn read(&self) -> Plan {
        let words = words(&self.data);
        let word = |at: usize| words.get(at).map_or("", String::as_str);
        let wait = word(4).parse::<u64>().unwrap_or(5_000).min(MAX_WAIT_MS);
        let args = GatherArgs {
            prompt: prompt(word(2)),
            invalid_prompt: None,
            min: word(0).parse().unwrap_or(0).min(MAX_DIGITS),
            max: word(1).parse().unwrap_or(MAX_DIGITS).clamp(1, MAX_DIGITS),
            terminators: terminators(word(5)),
            timeout_ms: wait,
            inter_digit_timeout_ms: word(6).parse().unwrap_or(wait).min(MAX_WAIT_MS),
            regexp: None,
            tries: 1,
            barge_in: true,
            flush: false,
            speech: None,
        };
        let variable = word(3).to_owned();
        Plan::with(Op::Gather(args), move |result| read_result(result, variable))
    }
}

fn read_result(result: &OpResult, variable: String) -> Consequences {
    let Ok(Outcome::Gathered(gathered)) = result else { return Consequences::default() };
    let status = match gathered.status {
        CollectStatus::Success => "success",
        CollectStatus::Timeout => "timeout",
        CollectStatus::Invalid => "failure",
    };
    let mut vars = vec![
        ("read_result".to_owned(), Some(status.to_owned())),
        ("read_terminator_used".to_owned(), gathered.terminator.map(|key| key.to_string())),
    ];
    if !variable.is_empty() {
        let digits = Some(gathered.digits.clone()).filter(|digits| !digits.is_empty());
        vars.push((variable, digits));
    }
    Consequences { vars, response: None }
}

fn prompt(file: &str) -> Option<Prompt> {
    if file.is_empty() || file == "none" {
        return None;
    }
    let playable = files::playable(file);
    let files = playable.sources.len().saturating_mul(usize::try_from(playable.repeat.max(1)).unwrap_or(1));
    let files = files.min(MAX_FILES.max(playable.sources.len()));
    Some(Prompt::Play(playable.sources.iter().cycle().take(files).cloned().collect()))
}

fn terminators(word: &str) -> String {
    if word == "none" { String::new() } else { word.to_owned() }
}

/// Clients mean a pattern that is found somewhere in the digits; operations match all of them.
fn anywhere(pattern: &str) -> String {
    let head = if pattern.starts_with('^') { "" } else { ".*" };
    let tail = if pattern.ends_with('$') && !pattern.ends_with("\\$") { "" } else { ".*" };
    format!("{head}(?:{pattern}){tail}")
}
