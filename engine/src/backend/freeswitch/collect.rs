//! `ivr` and `gather`: `play_and_get_digits`, with the digits the media server has kept from before.

use lockstep_ctx_api::op::{GatherArgs, IvrArgs};
use lockstep_ctx_api::outcome::{CollectStatus, GatherVia, Gathered, IvrResult};
use lockstep_ctx_api::pattern::Pattern;
use lockstep_ctx_api::{ErrorCode, OpError, Outcome};

use super::argument;
use super::sound::{SILENCE, Voice};
use super::task::{Finish, Plan, Step};
use super::{Settings, answer_time};
use crate::esl::Event;

/// The variable the digits are put into.
pub(super) const DIGITS: &str = "lockstep_digits";
/// What was keyed and did not match.
pub(super) const REFUSED: &str = "lockstep_digits_invalid";
/// What ended the entry. Only an entry that was ended so sets it.
pub(super) const TERMINATOR: &str = "read_terminator_used";
/// `failure`: too few digits.
pub(super) const RESULT: &str = "read_result";
/// The application has room for so many digits.
const MAX_DIGITS: u32 = 120;

/// Digits being collected.
#[derive(Debug)]
pub(super) struct Collecting {
    min: usize,
    /// What did not match is kept by the media server until the next expression: without one it says nothing.
    has_pattern: bool,
    /// The caller had more than one try.
    has_tries: bool,
    kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// With whom to connect the caller when nothing usable was keyed.
    Ivr {
        transfer_on_failure: Option<String>,
    },
    Gather,
}

/// What `play_and_get_digits` is told.
struct Rules<'a> {
    operation: &'static str,
    min: u32,
    max: u32,
    tries: u32,
    timeout_ms: u64,
    inter_digit_ms: u64,
    terminators: &'a str,
    regexp: Option<&'a str>,
    prompt: String,
    invalid: String,
}

impl Settings {
    pub(super) fn ivr(&self, args: IvrArgs) -> Result<Plan, OpError> {
        let file = |source: &Option<String>| match source {
            Some(source) => self.sound("ivr", source).map(|sound| sound.name),
            None => Ok(SILENCE.to_owned()),
        };
        let rules = Rules {
            operation: "ivr",
            min: args.min,
            max: args.max,
            tries: args.tries,
            timeout_ms: args.timeout_ms,
            inter_digit_ms: args.timeout_ms,
            terminators: &args.terminators,
            regexp: args.regexp.as_deref(),
            prompt: file(&args.file)?,
            invalid: file(&args.invalid_file)?,
        };
        rules.plan(args.flush, Vec::new(), Kind::Ivr { transfer_on_failure: args.transfer_on_failure.clone() })
    }

    pub(super) fn gather(&self, args: GatherArgs, voice: &Voice) -> Result<Plan, OpError> {
        if args.speech.is_some() {
            let message = "gather: no speech recogniser is configured; leave out `speech` to gather digits";
            return Err(OpError::new(ErrorCode::NotConfigured, message));
        }
        let named = |prompt: &Option<_>| match prompt {
            Some(prompt) => self.prompt("gather", prompt, voice),
            None => Ok(SILENCE.to_owned()),
        };
        let (prompt, invalid) = (named(&args.prompt)?, named(&args.invalid_prompt)?);
        let mut before = Vec::new();
        let mut asked = prompt.clone();
        if !args.barge_in && prompt != SILENCE {
            before.push(Step::set("playback_terminators", "none"));
            before.push(Step::execute("playback", prompt));
            asked = SILENCE.to_owned();
        }
        let rules = Rules {
            operation: "gather",
            min: args.min,
            max: args.max,
            tries: args.tries,
            timeout_ms: args.timeout_ms,
            inter_digit_ms: args.inter_digit_timeout_ms,
            terminators: &args.terminators,
            regexp: args.regexp.as_deref(),
            prompt: asked,
            invalid,
        };
        rules.plan(args.flush, before, Kind::Gather)
    }
}

impl Rules<'_> {
    fn plan(&self, flush: bool, before: Vec<Step>, kind: Kind) -> Result<Plan, OpError> {
        let arg = self.argument()?;
        let mut steps = before;
        if flush {
            steps.push(Step::execute("flush_dtmf", ""));
        }
        let tries = u64::from(self.tries.clamp(1, 100));
        let lasts = answer_time(self.timeout_ms, tries);
        steps.push(Step::Set(vec![(TERMINATOR.to_owned(), None)]));
        steps.push(Step::Execute { app: "play_and_get_digits", arg, lasts: Some(lasts) });
        let min = usize::try_from(self.min.min(self.max.max(1))).unwrap_or(0);
        let has_pattern = self.regexp.is_some();
        Ok(Plan { steps: steps.into(), finish: Finish::Collect(Collecting { min, has_pattern, has_tries: tries > 1, kind }) })
    }

    /// `<min> <max> <tries> <timeout> <terminators> <file> <invalid_file> <var> <regexp> <digit_timeout>`
    fn argument(&self) -> Result<String, OpError> {
        let max = self.max.clamp(1, MAX_DIGITS);
        let min = self.min.min(max);
        let terminators = if self.terminators.is_empty() { "none" } else { self.terminators };
        let terminators = argument::word(self.operation, "terminators", terminators, "*#")?;
        let regexp = match self.regexp {
            Some(source) => {
                // Our own compiler says what is wrong with it, where the media server would only find that nothing matches.
                Pattern::new(source).map_err(|error| {
                    OpError::new(ErrorCode::TypeError, format!("{}: regexp {source:?}: {error}", self.operation))
                })?;
                format!("^(?:{})$", argument::literal(self.operation, "regexp", source)?)
            }
            None => String::new(),
        };
        let [prompt, invalid, regexp] = [&self.prompt, &self.invalid, &regexp].map(|word| argument::quoted(word));
        let (tries, timeout, inter_digit) = (self.tries.clamp(1, 100), self.timeout_ms.max(1), self.inter_digit_ms.max(1));
        Ok(format!("{min} {max} {tries} {timeout} {terminators} {prompt} {invalid} {DIGITS} {regexp} {inter_digit}"))
    }
}

impl Collecting {
    /// What was collected, and with whom the caller is to be connected because it was not enough.
    pub(super) fn outcome(&self, event: &Event) -> (Outcome, Option<String>) {
        let text = |name: &str| event.variable(name).unwrap_or_default().to_owned();
        let (digits, refused) = (text(DIGITS), text(REFUSED));
        let terminator = event.variable(TERMINATOR).and_then(|used| used.chars().next());
        let is_enough = digits.chars().count() >= self.min;
        // What did not match is taken out of the digits, and stays told when somebody keys too few of them after it.
        let is_refused = self.has_pattern && digits.is_empty() && !refused.is_empty() && text(RESULT) != "failure";
        // The media server does not forget the terminator of a try that is followed by silence.
        let is_silence = self.has_tries && digits.is_empty() && text(RESULT) == "failure";
        let (status, digits) = if is_refused {
            (CollectStatus::Invalid, refused)
        } else if is_enough && (!digits.is_empty() || terminator.is_some()) {
            (CollectStatus::Success, digits)
        } else if terminator.is_some() && !is_silence {
            (CollectStatus::Invalid, digits)
        } else {
            (CollectStatus::Timeout, digits)
        };
        match &self.kind {
            Kind::Ivr { transfer_on_failure } => {
                let transfer = transfer_on_failure.clone().filter(|_| status != CollectStatus::Success);
                (Outcome::Ivr(IvrResult { status, value: digits }), transfer)
            }
            Kind::Gather => {
                let via = GatherVia::Dtmf;
                let value = digits.clone();
                (Outcome::Gathered(Gathered { status, via, value, digits, terminator, speech: None }), None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument_of(args: IvrArgs) -> Result<String, OpError> {
        let settings = Settings { files: "/s".into(), ..Settings::default() };
        let plan = settings.ivr(args)?;
        Ok(plan
            .steps
            .into_iter()
            .find_map(|step| match step {
                Step::Execute { app: "play_and_get_digits", arg, .. } => Some(arg),
                _ => None,
            })
            .unwrap())
    }

    fn args() -> IvrArgs {
        IvrArgs { min: 1, max: 4, tries: 2, timeout_ms: 5_000, terminators: "#".into(), ..IvrArgs::default() }
    }

    #[test]
    fn the_argument_names_everything_in_its_place() {
        let args = IvrArgs { file: Some("user/a b.wav".into()), regexp: Some(r"\d '9'".into()), ..args() };
        assert_eq!(
            argument_of(args).unwrap(),
            r"1 4 2 5000 # '/s/user/a b.wav' 'silence_stream://10' lockstep_digits '^(?:\\d \'9\')$' 5000"
        );
    }

    #[test]
    fn terminators_and_expressions_cannot_break_out() {
        for (terminators, regexp) in [("# x", None), ("#'", None), ("#", Some("${system(x)}")), ("#", Some("("))] {
            let args = IvrArgs { terminators: terminators.into(), regexp: regexp.map(str::to_owned), ..args() };
            assert!(argument_of(args).is_err(), "{terminators} {regexp:?}");
        }
        assert!(argument_of(IvrArgs { terminators: String::new(), ..args() }).unwrap().contains(" none "));
    }

    #[test]
    fn results_tell_silence_from_nonsense() {
        /// What a test sets where there was more than one try.
        const TRIES: (&str, &str) = ("tries", "2");
        let result = |vars: &[(&str, &str)]| {
            let mut event = Event::new("CHANNEL_EXECUTE_COMPLETE");
            for (name, value) in vars {
                event.push(&format!("variable_{name}"), value);
            }
            let kind = Kind::Ivr { transfer_on_failure: Some("1001".into()) };
            let collecting = Collecting { min: 2, has_pattern: true, has_tries: vars.contains(&TRIES), kind };
            match collecting.outcome(&event) {
                (Outcome::Ivr(result), transfer) => (result.status, result.value, transfer.is_some()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(result(&[(DIGITS, "12"), (RESULT, "success")]), (CollectStatus::Success, "12".into(), false));
        assert_eq!(result(&[(RESULT, "failure")]), (CollectStatus::Timeout, String::new(), true));
        assert_eq!(result(&[(DIGITS, "1"), (RESULT, "failure")]), (CollectStatus::Timeout, "1".into(), true));
        assert_eq!(result(&[(DIGITS, "1"), (TERMINATOR, "#")]), (CollectStatus::Invalid, "1".into(), true));
        assert_eq!(result(&[(TERMINATOR, "#")]), (CollectStatus::Invalid, String::new(), true));
        assert_eq!(result(&[(REFUSED, "99"), (RESULT, "success")]), (CollectStatus::Invalid, "99".into(), true));
        let then_silence = [(REFUSED, "99"), (TERMINATOR, "#"), (RESULT, "failure"), TRIES];
        assert_eq!(result(&then_silence), (CollectStatus::Timeout, String::new(), true));
    }
}
