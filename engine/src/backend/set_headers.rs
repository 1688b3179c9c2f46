//! Header fields that a script has set with `header(name, value)`, until a response or a leg of ours carries them.

use lockstep_ctx_api::op::Headers;
use lockstep_ctx_api::{ErrorCode, OpError, OpResult, Outcome};

/// The most fields that wait.
const MAX_FIELDS: usize = 64;
/// What they may take together, names included, in bytes: with those of the operation itself they must fit a datagram.
const MAX_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SetHeaders {
    fields: Headers,
    bytes: usize,
}

impl SetHeaders {
    /// Sets a field in place of one of the same name: the result of the operation.
    pub(super) fn set(&mut self, name: String, value: String) -> OpResult {
        let known = self.fields.iter().position(|(field, _)| field.eq_ignore_ascii_case(&name));
        let before = known.and_then(|at| self.fields.get(at)).map_or(0, size);
        let field = (name, value);
        let bytes = self.bytes.saturating_sub(before).saturating_add(size(&field));
        if bytes > MAX_BYTES || (known.is_none() && self.fields.len() >= MAX_FIELDS) {
            let message = format!("header: a script may set {MAX_FIELDS} header fields of {MAX_BYTES} bytes together");
            return Err(OpError::new(ErrorCode::LimitError, message));
        }
        self.bytes = bytes;
        match known.and_then(|at| self.fields.get_mut(at)) {
            Some(known) => *known = field,
            None => self.fields.push(field),
        }
        Ok(Outcome::Unit)
    }

    /// What waits.
    pub(super) fn fields(&self) -> &Headers {
        &self.fields
    }

    /// What is to go out now; nothing is set any more.
    pub(super) fn take(&mut self) -> Headers {
        self.bytes = 0;
        std::mem::take(&mut self.fields)
    }
}

/// Fields of one place with those of a narrower one, which stand in for all of the same name.
pub(super) fn narrowed(mut broad: Headers, narrow: &Headers) -> Headers {
    broad.retain(|(name, _)| !narrow.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
    broad.extend(narrow.iter().cloned());
    broad
}

fn size((name, value): &(String, String)) -> usize {
    name.len() + value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: OpResult) -> Option<ErrorCode> {
        result.err().map(|error| error.code)
    }

    #[test]
    fn a_field_that_is_set_again_is_replaced() {
        let mut headers = SetHeaders::default();
        for value in ["1", "2"] {
            assert!(headers.set("X-Id".into(), value.into()).is_ok());
            assert!(headers.set("x-other".into(), value.into()).is_ok());
        }
        assert!(headers.set("X-Other".into(), "3".into()).is_ok());
        assert_eq!(headers.take(), [("X-Id".to_owned(), "2".to_owned()), ("X-Other".to_owned(), "3".to_owned())]);
        assert_eq!(headers.take(), Headers::new());
    }

    #[test]
    fn fields_are_bounded_in_number_and_in_size() {
        let mut headers = SetHeaders::default();
        for number in 0..MAX_FIELDS {
            assert_eq!(code(headers.set(format!("X-{number}"), String::new())), None);
        }
        assert_eq!(code(headers.set("X-More".into(), String::new())), Some(ErrorCode::LimitError));
        assert_eq!(code(headers.set("X-0".into(), "again".into())), None);
        headers.take();
        let half = "v".repeat(MAX_BYTES / 2);
        assert_eq!(code(headers.set("X-A".into(), half.clone())), None);
        assert_eq!(code(headers.set("X-B".into(), half.clone())), Some(ErrorCode::LimitError));
        assert_eq!(code(headers.set("X-A".into(), half)), None, "in place of itself");
    }
}
