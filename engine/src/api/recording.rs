//! `/v1/calls/{id}/recording`

use std::fs::Metadata;
use std::io::{self, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path as FilePath, PathBuf};
use std::time::UNIX_EPOCH;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lockstep_media::io::recording_mark;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use super::AppState;
use super::access::Caller;
use super::error::ApiError;
use super::journals::stored;
use super::path::Path;
use crate::core::EngineError;

/// Octets read at once.
const CHUNK: usize = 64 << 10;
/// Octets of a WAV before its samples, as it is recorded here.
const WAV_HEADER: usize = 44;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordingQuery {
    number: Option<usize>,
}

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<RecordingQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let path = match state.engine.call(&id).await {
        Ok(call) if !caller.sees(&call.account) => return Err(EngineError::NoSuchCall(id).into()),
        Ok(_) => state.engine.recording(&id, query.number).await?,
        Err(EngineError::NoSuchCall(_)) => earlier(&state, &caller, &id, query.number).await?,
        Err(error) => return Err(error.into()),
    };
    let no_recording = |_: io::Error| EngineError::NoRecording(id.clone());
    // It may have been moved away since.
    let file = File::open(&path).await.map_err(no_recording)?;
    if !is_of(file.as_fd(), &id) {
        let what = format!("another call has recorded under the same name since call {id} did");
        return Err(ApiError::not_found("no_recording", what));
    }
    // Of HEAD a range means nothing (RFC 9110 14.2).
    let wanted = if method == Method::GET { headers } else { HeaderMap::new() };
    Ok(send(file, &path, &wanted).await.map_err(no_recording)?)
}

/// Whether a file is still the recording of a call: where it says nothing, it is.
pub(super) fn is_of(file: BorrowedFd<'_>, call: &str) -> bool {
    recording_mark(file).is_none_or(|mark| mark == call)
}

/// The file of a call that only the disk knows.
async fn earlier(state: &AppState, caller: &Caller, id: &str, number: Option<usize>) -> Result<PathBuf, ApiError> {
    let outcome = stored(state, caller, id, false).await?.outcome.unwrap_or_default();
    let recordings = outcome["recordings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let wanted = match number {
        Some(number) => number.checked_sub(1).and_then(|index| recordings.get(index)),
        None => recordings.last(),
    };
    let path = wanted.and_then(|path| path.as_str()).map(PathBuf::from);
    path.ok_or_else(|| EngineError::NoRecording(id.to_owned()).into())
}

/// `wanted` may ask for a part.
async fn send(mut file: File, path: &FilePath, wanted: &HeaderMap) -> io::Result<Response> {
    let metadata = file.metadata().await?;
    let (length, tag) = (metadata.len(), tag_of(&metadata));
    let (status, first, count) = match part_of(length, &tag, wanted) {
        Part::All => (StatusCode::OK, 0, length),
        Part::Octets { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Part::Outside => {
            let mut refused = ApiError::no_such_range(length).into_response();
            if let Ok(range) = HeaderValue::from_str(&format!("bytes */{length}")) {
                refused.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            return Ok(refused);
        }
    };
    let headers = [
        (header::CONTENT_TYPE, media_type(path).to_owned()),
        (header::CONTENT_LENGTH, count.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, tag),
    ];
    let range = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| [(header::CONTENT_RANGE, format!("bytes {first}-{}/{length}", first + count - 1))]);
    let mut head = Vec::with_capacity(WAV_HEADER);
    (&mut file).take(WAV_HEADER as u64).read_to_end(&mut head).await?;
    give_sizes(&mut head, length);
    if first > WAV_HEADER as u64 {
        file.seek(SeekFrom::Start(first)).await?;
    }
    head.drain(..usize::try_from(first).unwrap_or(usize::MAX).min(head.len()));
    // What is written meanwhile is for the next who asks.
    let sent = io::Cursor::new(head).chain(file).take(count);
    let body = Body::from_stream(futures_util::stream::try_unfold(sent, next_chunk));
    Ok((status, headers, range, body).into_response())
}

/// What of a recording is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    /// Octets, counted from 0, both included.
    Octets {
        first: u64,
        last: u64,
    },
    /// It would begin where there is nothing.
    Outside,
}

/// The part of `length` octets that a request wants (RFC 9110 14.2). Whoever asks for several, or has a part of what it was before, gets
/// all.
fn part_of(length: u64, tag: &str, wanted: &HeaderMap) -> Part {
    let text = |name: HeaderName| wanted.get(name).and_then(|value| value.to_str().ok());
    if wanted.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(tag) {
        return Part::All;
    }
    let range = text(header::RANGE).and_then(|range| range.split_once('='));
    let Some((_, range)) = range.filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes")) else { return Part::All };
    let Some((first, last)) = range.trim().split_once('-') else { return Part::All };
    // One that has more digits is beyond the end, too.
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    let end = length.saturating_sub(1);
    let (first, last) = match (number(first), number(last)) {
        (Some(_), Some(_)) if first.is_empty() && last.is_empty() => return Part::All,
        (Some(_), Some(0)) if first.is_empty() => return Part::Outside,
        (Some(_), Some(count)) if first.is_empty() => (length.saturating_sub(count), end),
        (Some(first), Some(_)) if last.is_empty() => (first, end),
        (Some(first), Some(last)) if first <= last => (first, last.min(end)),
        (Some(_) | None, Some(_) | None) => return Part::All,
    };
    if first < length { Part::Octets { first, last } } else { Part::Outside }
}

/// Changes with the file.
fn tag_of(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("\"{:x}-{:x}\"", modified.as_nanos(), metadata.len())
}

/// A WAV that is not finished says "to the end" for its sizes, which many readers do not know: it gets those of what there is.
fn give_sizes(head: &mut [u8], length: u64) {
    let is_open = head.starts_with(b"RIFF\xff\xff\xff\xff") && head.ends_with(b"data\xff\xff\xff\xff");
    let (true, Ok(length)) = (is_open && head.len() == WAV_HEADER, u32::try_from(length)) else { return };
    for (at, before) in [(4, 8), (40, 44)] {
        if let Some(size) = head.get_mut(at..at + 4) {
            size.copy_from_slice(&length.saturating_sub(before).to_le_bytes());
        }
    }
}

async fn next_chunk<R: AsyncRead + Unpin>(mut file: R) -> io::Result<Option<(Bytes, R)>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
    Ok((read > 0).then(|| (chunk.into(), file)))
}

fn media_type(path: &FilePath) -> &'static str {
    let is_ogg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ogg"));
    if is_ogg { "audio/ogg" } else { "audio/wav" }
}

#[cfg(test)]
mod tests {
    use lockstep_media::io::mark_recording;

    use super::*;

    #[tokio::test]
    async fn a_recording_comes_whole_with_its_type_and_length() {
        let path = std::env::temp_dir().join(format!("lockstep-recording-{}.ogg", std::process::id()));
        let content: Vec<u8> = (0..3 * CHUNK + 7).map(|at| at as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let response = send(File::open(&path).await.unwrap(), &path, &HeaderMap::new()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "audio/ogg");
        assert_eq!(response.headers()["accept-ranges"], "bytes");
        assert_eq!(response.headers()["content-length"], content.len().to_string());
        assert_eq!(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap(), content);
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_wav_that_is_still_recorded_says_how_much_of_it_there_is() {
        let path = std::env::temp_dir().join(format!("lockstep-recording-open-{}.wav", std::process::id()));
        let mut content =
            b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\xff\xff\xff\xff"
                .to_vec();
        content.extend([7; 300]);
        std::fs::write(&path, &content).unwrap();
        let response = send(File::open(&path).await.unwrap(), &path, &HeaderMap::new()).await.unwrap();
        content[4..8].copy_from_slice(&336u32.to_le_bytes());
        content[40..44].copy_from_slice(&300u32.to_le_bytes());
        assert_eq!(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap(), content);
        for (range, first, last) in [
            ("bytes=0-1", 0, 1),
            ("bytes=42-", 42, 343),
            ("bytes=44-44", 44, 44),
            ("bytes=100-", 100, 343),
            ("bytes=-300", 44, 343),
        ] {
            let wanted = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
            let response = send(File::open(&path).await.unwrap(), &path, &wanted).await.unwrap();
            assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
            assert_eq!(response.headers()["content-range"], format!("bytes {first}-{last}/344"), "{range}");
            assert_eq!(response.headers()["content-length"], (last - first + 1).to_string(), "{range}");
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(body, content[first..=last], "{range}");
        }
        let wanted = HeaderMap::from_iter([(header::RANGE, "bytes=344-".parse().unwrap())]);
        let refused = send(File::open(&path).await.unwrap(), &path, &wanted).await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["content-range"]), (416, &"bytes */344".parse().unwrap()));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_part_is_one_range_of_octets_of_what_is_still_the_same() {
        let part = |range: &str, known: Option<&str>| {
            let mut wanted = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
            if let Some(tag) = known {
                wanted.insert(header::IF_RANGE, tag.parse().unwrap());
            }
            part_of(10, "\"a\"", &wanted)
        };
        assert_eq!(part("Bytes=2-99", Some("\"a\"")), Part::Octets { first: 2, last: 9 });
        assert_eq!(part("bytes=-99", None), Part::Octets { first: 0, last: 9 });
        assert_eq!(part("bytes=2-3", Some("\"b\"")), Part::All);
        for odd in ["bytes=0-1,3-4", "bytes=5-4", "bytes=-", "bytes=+1-2", "lines=0-1", "bytes", ""] {
            assert_eq!(part(odd, None), Part::All, "{odd}");
        }
        for outside in ["bytes=10-", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(part(outside, None), Part::Outside, "{outside}");
        }
        let range = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=-5"))]);
        assert_eq!(part_of(0, "\"a\"", &range), Part::Outside);
    }

    #[test]
    fn a_file_that_another_call_has_recorded_since_is_not_that_calls() {
        let path = std::env::temp_dir().join(format!("lockstep-recording-{}.wav", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        assert!(is_of(file.as_fd(), "first"), "it does not say whose it is");
        mark_recording(file.as_fd(), "second").unwrap();
        assert_eq!(["first", "second"].map(|call| is_of(file.as_fd(), call)), [false, true]);
        std::fs::remove_file(&path).unwrap();
    }
}
