//! Prompts named by URL: the prompt library's [`Fetch`] on the same client, under the same policy.

use std::time::Duration;

use bytes::Bytes;
use lockstep_media::prompt::http::FetchFuture;
use lockstep_media::prompt::{Fetch, FetchError, FetchRequest, Fetched};
use reqwest::header::{
    AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, StatusCode, Url};

use super::{Failure, Fetcher, Hop, MAX_REDIRECTS, is_redirect, read_body, redirect_target};

/// A caller waits for it.
const TIMEOUT: Duration = Duration::from_secs(15);

impl Fetch for Fetcher {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let fetcher = self.clone();
        Box::pin(async move {
            match tokio::time::timeout(TIMEOUT, fetcher.audio(request)).await {
                Ok(result) => result,
                Err(_) => Err(FetchError::TimedOut),
            }
        })
    }
}

impl Fetcher {
    async fn audio(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let limit = usize::try_from(request.max_bytes).unwrap_or(usize::MAX);
        let _permit = self.prompt_permits.acquire().await.map_err(|error| FetchError::Failed(error.to_string()))?;
        let url = Url::parse(&request.url).map_err(|error| FetchError::Failed(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in [(IF_NONE_MATCH, request.etag), (IF_MODIFIED_SINCE, request.last_modified)] {
            if let Some(value) = value.and_then(|value| value.parse().ok()) {
                headers.insert(name, value);
            }
        }
        let mut hop = Hop { method: Method::GET, url, headers, body: None };
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&hop).await.map_err(failed)?;
            let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let age = Duration::from_secs(text(AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0));
            match response.status() {
                StatusCode::NOT_MODIFIED => return Ok(Fetched::NotModified { cache_control: text(CACHE_CONTROL), age }),
                StatusCode::OK => {
                    let (content_type, etag) = (text(CONTENT_TYPE), text(ETAG));
                    let (last_modified, cache_control) = (text(LAST_MODIFIED), text(CACHE_CONTROL));
                    let bytes = Bytes::from(read_body(response, limit).await.map_err(failed)?);
                    return Ok(Fetched::Body { bytes, content_type, etag, last_modified, cache_control, age });
                }
                status if is_redirect(status) => {
                    let target = redirect_target(&response, &hop.url).map_err(failed)?;
                    hop = hop.redirected(status, target);
                }
                status => return Err(FetchError::Status(status.as_u16())),
            }
        }
        Err(failed(Failure::TooManyRedirects))
    }
}

fn failed(failure: Failure) -> FetchError {
    match failure {
        Failure::Forbidden(why) => FetchError::Refused(why),
        Failure::TooLarge(max) => FetchError::TooLarge { max: max as u64 },
        Failure::TimedOut(_) => FetchError::TimedOut,
        other => FetchError::Failed(other.to_string()),
    }
}
