//! `/v1/calls/{id}/recording`

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path as FilePath, PathBuf};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use lockstep_media::io::recording_mark;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};

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
    Ok(send(file, &path).await.map_err(no_recording)?)
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

async fn send(mut file: File, path: &FilePath) -> io::Result<Response> {
    let length = file.metadata().await?.len();
    let headers = [(header::CONTENT_TYPE, media_type(path).to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    let mut head = Vec::with_capacity(WAV_HEADER);
    (&mut file).take(WAV_HEADER as u64).read_to_end(&mut head).await?;
    give_sizes(&mut head, length);
    // What is written meanwhile is for the next who asks.
    let whole = io::Cursor::new(head).chain(file).take(length);
    let body = Body::from_stream(futures_util::stream::try_unfold(whole, next_chunk));
    Ok((headers, body).into_response())
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
        let response = send(File::open(&path).await.unwrap(), &path).await.unwrap();
        assert_eq!(response.headers()["content-type"], "audio/ogg");
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
        let response = send(File::open(&path).await.unwrap(), &path).await.unwrap();
        content[4..8].copy_from_slice(&336u32.to_le_bytes());
        content[40..44].copy_from_slice(&300u32.to_le_bytes());
        assert_eq!(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap(), content);
        std::fs::remove_file(&path).unwrap();
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
