//! `;name=value` parameters of URIs, header elements and media types.

use std::fmt;

use super::scan::{quoted_string, split_outside, trim};
use super::{Malformed, limits};

/// One parameter. The value is kept as written, quotes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub value: Option<String>,
}

/// Parameters in their order. Names compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<Param>);

impl Params {
    #[must_use]
    pub fn new() -> Params {
        Params::default()
    }

    /// Reads `;a=b;c`, with or without the first semicolon; spaces around separators are dropped.
    pub(crate) fn parse(s: &str) -> Result<Params, Malformed> {
        let mut params = Vec::new();
        let mut rest = trim(s);
        if let Some(tail) = rest.strip_prefix(';') {
            rest = tail;
        }
        while !rest.is_empty() {
            let (element, tail) = split_outside(rest, b';').unwrap_or((rest, ""));
            rest = tail;
            let element = trim(element);
            if element.is_empty() {
                continue;
            }
            if params.len() == limits::PARAMS {
                return Err(Malformed::expected("at most 64 parameters"));
            }
            let (name, value) = match element.split_once('=') {
                Some((name, value)) => (trim(name), Some(trim(value).to_owned())),
                None => (element, None),
            };
            if name.is_empty() {
                return Err(Malformed::expected("a parameter name before ="));
            }
            if let Some(value) = &value
                && value.starts_with('"')
                && !quoted_string(value).is_some_and(|(_, rest)| rest.is_empty())
            {
                return Err(Malformed::expected("a closing quote"));
            }
            params.push(Param { name: name.to_owned(), value });
        }
        Ok(Params(params))
    }

    /// Whether the parameter is there, with or without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value as written; `None` when absent or without a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name)?.value.as_deref()
    }

    /// The value without surrounding quotes and their escapes.
    #[must_use]
    pub fn get_unquoted(&self, name: &str) -> Option<String> {
        let value = self.get(name)?;
        Some(match quoted_string(value) {
            Some((text, _)) => text,
            None => value.to_owned(),
        })
    }

    /// Sets or replaces a parameter; `value` must already be a token or a quoted string.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|p| p.name.eq_ignore_ascii_case(name)) {
            Some(param) => param.value = value,
            None => self.0.push(Param { name: name.to_owned(), value }),
        }
    }

    /// Removes every parameter of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|p| !p.name.eq_ignore_ascii_case(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.0.iter()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Param { name, value } in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}
