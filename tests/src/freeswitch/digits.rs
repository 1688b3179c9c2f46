//! `play_and_get_digits` of the stand-in.

use regex::Regex;

use super::apps::State;
use super::arguments::separate;
use super::channel::Channel;

/// `play_and_get_digits`
#[derive(Debug)]
pub(super) struct Digits {
    min: usize,
    max: usize,
    tries: u64,
    timeout: u64,
    terminators: String,
    prompt: String,
    invalid: String,
    variable: String,
    regexp: Option<Regex>,
    digit_timeout: u64,
    got: String,
    terminator: Option<char>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Prompt(u64),
    Wait(u64),
    Invalid(u64),
}

impl Digits {
    /// When the phase ends.
    pub(super) fn due(&self) -> u64 {
        match self.phase {
            Phase::Prompt(at) | Phase::Wait(at) | Phase::Invalid(at) => at,
        }
    }

    /// It ends then, without another try.
    pub(super) fn break_off(&mut self, at: u64) {
        self.tries = 1;
        self.phase = Phase::Invalid(at);
    }

    /// The caller hears that the keys were wrong, and cannot press others meanwhile.
    pub(super) fn is_told_off(&self) -> bool {
        matches!(self.phase, Phase::Invalid(_))
    }
}

impl Channel {
    pub(super) fn start_digits(&mut self, arg: &str) -> State {
        let words = separate(arg, ' ', 11);
        let word = |at: usize| words.get(at).map_or("", String::as_str).to_owned();
        let number = |at: usize| word(at).parse::<u64>().unwrap_or(0);
        let expression = Some(word(8)).filter(|source| !source.is_empty());
        let digits = Digits {
            min: number(0) as usize,
            max: number(1).max(number(0)) as usize,
            tries: number(2),
            timeout: number(3).max(1_000),
            terminators: word(4),
            prompt: word(5),
            invalid: word(6),
            variable: word(7),
            regexp: expression.and_then(|source| Regex::new(&source).ok()),
            digit_timeout: number(9).max(1),
            got: String::new(),
            terminator: None,
            phase: Phase::Prompt(0),
        };
        self.early_media();
        self.variables.remove(&format!("{}_invalid", digits.variable));
        let mut digits = Box::new(digits);
        self.begin_try(&mut digits);
        State::Digits(digits)
    }

    fn begin_try(&mut self, digits: &mut Digits) {
        digits.got.clear();
        digits.terminator = None;
        self.variables.remove(&digits.variable);
        self.variables.remove("read_result");
        let length = self.length_of(&digits.prompt).unwrap_or(0);
        digits.phase = Phase::Prompt(self.now + length);
        self.take_digits(digits);
    }

    /// Takes keys that wait; whether the try is over.
    pub(super) fn take_digits(&mut self, digits: &mut Digits) -> bool {
        while let Some(digit) = self.digits.pop_front() {
            if digits.terminators.contains(digit) {
                digits.terminator = Some(digit);
                return true;
            }
            digits.got.push(digit);
            digits.phase = Phase::Wait(self.now + digits.digit_timeout);
            if digits.got.len() >= digits.max {
                return true;
            }
        }
        false
    }

    pub(super) fn end_try(&mut self, mut digits: Box<Digits>, is_timeout: bool) -> State {
        let is_enough = digits.got.len() >= digits.min;
        let result = match (is_enough, is_timeout) {
            (true, true) => "timeout",
            (true, false) => "success",
            (false, _) => "failure",
        };
        self.variables.insert("read_result".to_owned(), result.to_owned());
        if let Some(terminator) = digits.terminator {
            self.variables.insert("read_terminator_used".to_owned(), terminator.to_string());
        }
        if !digits.got.is_empty() {
            self.variables.insert(digits.variable.clone(), digits.got.clone());
        }
        if is_enough && digits.got.is_empty() && digits.terminator.is_some() {
            return State::Done;
        }
        if is_enough && !digits.got.is_empty() {
            if digits.regexp.as_ref().is_none_or(|expression| expression.is_match(&digits.got)) {
                return State::Done;
            }
            self.variables.remove(&digits.variable);
            self.variables.insert(format!("{}_invalid", digits.variable), digits.got.clone());
        }
        digits.phase = Phase::Invalid(self.now + self.length_of(&digits.invalid).unwrap_or(0));
        State::Digits(digits)
    }

    pub(super) fn step_digits(&mut self, mut digits: Box<Digits>) -> State {
        match digits.phase {
            Phase::Prompt(_) => {
                digits.phase = Phase::Wait(self.now + digits.timeout);
                State::Digits(digits)
            }
            Phase::Wait(_) => self.end_try(digits, true),
            Phase::Invalid(_) => {
                digits.tries = digits.tries.saturating_sub(1);
                if digits.tries == 0 {
                    return State::Done;
                }
                self.begin_try(&mut digits);
                State::Digits(digits)
            }
        }
    }
}
