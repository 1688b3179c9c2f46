//! Session timers (RFC 4028): a call whose peer has vanished ends by itself.
//!
//! ```text
//!  2xx with Session-Expires: N ──N/2──► refresh, if we are the refresher ──N − min(32, N/3)──► BYE, if nothing refreshed it
//! ```
//!
//! A peer that refuses a refresh lives, and one that cannot be reached may be back soon: it is asked again while there is time, at the
//! latest after half of what is left.

use std::time::{Duration, Instant};

use super::dialogs::DialogEntry;
use super::{Config, DialogId, DialogRequest, Endpoint, Reply, RequestId, TerminationCause};
use crate::message::{HeaderName, Headers, Method, Refresher, Request, Response, SessionExpires, StatusCode};

/// The shortest interval accepted anywhere, in seconds (RFC 4028 4).
const SHORTEST: u32 = 90;

/// We refresh no more often than this, whatever a peer says.
const SHORTEST_REFRESH: Duration = Duration::from_secs(5);

/// When another of our requests is under way, the refresh tries again after this; one that was refused not before.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct SessionTimer {
    /// Seconds.
    interval: u32,
    we_refresh: bool,
    /// When we refresh; `None` when the peer does, and while our refresh is under way.
    refresh_at: Option<Instant>,
    /// Our refresh under way.
    refresh: Option<RequestId>,
    expires_at: Instant,
}

impl SessionTimer {
    fn start(now: Instant, interval: u32, we_refresh: bool) -> SessionTimer {
        let whole = Duration::from_secs(u64::from(interval));
        // RFC 4028 10: leave before the peer's timer runs out.
        let margin = Duration::from_secs(u64::from((interval / 3).min(32)));
        SessionTimer {
            interval,
            we_refresh,
            refresh_at: we_refresh.then(|| now + whole / 2),
            refresh: None,
            expires_at: now + whole.saturating_sub(margin),
        }
    }

    /// What a request of ours asks for so that things stay as they are.
    pub(super) fn ask(&self) -> SessionExpires {
        SessionExpires { interval: self.interval, refresher: Some(if self.we_refresh { Refresher::Uac } else { Refresher::Uas }) }
    }

    pub(super) fn next(&self) -> Instant {
        self.refresh_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }
}

fn supports_timer(headers: &Headers) -> bool {
    headers.list_contains(HeaderName::Supported, "timer") || headers.list_contains(HeaderName::Require, "timer")
}

impl DialogEntry {
    /// Our 2xx to an INVITE or UPDATE: agrees to the timer the peer asked for, and starts it (RFC 4028 9).
    pub(super) fn accept_session_timer(&mut self, now: Instant, request: &Request, reply: &mut Reply, config: &Config) {
        self.session_timer = None;
        let Some(Ok(asked)) = request.headers.session_expires() else {
            return;
        };
        if !supports_timer(&request.headers) {
            // A proxy asked; only we could refresh, which such peers take badly.
            return;
        }
        let interval = asked.interval.max(config.session_timer.min_se);
        let refresher = asked.refresher.unwrap_or(Refresher::Uac);
        let agreed = SessionExpires { interval, refresher: Some(refresher) };
        reply.headers.push(HeaderName::SessionExpires, agreed.to_string());
        if refresher == Refresher::Uac {
            reply.headers.push(HeaderName::Require, "timer");
        }
        self.session_timer = Some(SessionTimer::start(now, interval, refresher == Refresher::Uas));
    }

    /// The peer's 2xx to an INVITE or UPDATE of ours (RFC 4028 7.2).
    pub(super) fn take_session_timer(&mut self, now: Instant, headers: &Headers) {
        self.session_timer = match headers.session_expires() {
            Some(Ok(agreed)) => {
                // An interval no standard allows would have us end the call at once; a peer that means it ends it then by itself.
                let timer = SessionTimer::start(now, agreed.interval.max(SHORTEST), agreed.refresher != Some(Refresher::Uas));
                let said = Duration::from_secs(u64::from(agreed.interval)) / 2;
                let refresh_at = timer.refresh_at.map(|at| at.min(now + said.max(SHORTEST_REFRESH)));
                Some(SessionTimer { refresh_at, ..timer })
            }
            Some(Err(_)) | None => None,
        };
    }

    /// If that request was a refresh of ours: says when to try again. Without a response the peer could not be reached.
    pub(super) fn refresh_failed(&mut self, now: Instant, id: RequestId, method: &Method, response: Option<&Response>) {
        let Some(timer) = self.session_timer.as_mut().filter(|timer| timer.refresh == Some(id)) else {
            return;
        };
        let asked = match response.map(|response| response.status) {
            Some(StatusCode::REQUEST_PENDING) => self.glare_over,
            // Its Allow was that of somebody on the way.
            Some(StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) if *method == Method::Update => {
                self.peer_allows_update = false;
                Some(now)
            }
            Some(_) | None => response
                .and_then(|response| response.headers.retry_after())
                .map(|seconds| now + Duration::from_secs(seconds.into()).max(RETRY)),
        };
        let left = timer.expires_at.saturating_duration_since(now);
        let half = (left / 2 >= RETRY).then(|| now + left / 2);
        timer.refresh = None;
        timer.refresh_at = asked.filter(|at| *at < timer.expires_at).or(half);
    }
}

impl Endpoint {
    /// 422 for an interval below ours (RFC 4028 9); a peer without the extension could do nothing with it.
    pub(super) fn check_session_interval(&self, request: &Request) -> Option<Reply> {
        let min_se = self.config.session_timer.min_se;
        let asked = match request.headers.session_expires()? {
            Ok(asked) => asked,
            Err(malformed) => {
                return Some(
                    Reply::new(StatusCode::BAD_REQUEST).reason(&format!("Bad Request - malformed Session-Expires: {malformed}")),
                );
            }
        };
        (asked.interval < min_se && supports_timer(&request.headers))
            .then(|| Reply::new(StatusCode::SESSION_INTERVAL_TOO_SMALL).header(HeaderName::MinSe, min_se.to_string()))
    }

    pub(super) fn session_timeout(&mut self, now: Instant, id: DialogId) {
        let Some(timer) = self.dialogs.get(&id).and_then(|entry| entry.session_timer) else {
            return;
        };
        if timer.expires_at <= now {
            self.end_with_bye(now, id, TerminationCause::SessionExpired);
            return;
        }
        if timer.refresh_at.is_some_and(|at| at <= now) {
            let refresh = self.send_refresh(now, id);
            if let Some(entry) = self.dialogs.get_mut(&id)
                && let Some(timer) = &mut entry.session_timer
            {
                // Its 2xx starts the timer anew.
                timer.refresh_at = refresh.is_none().then(|| now + RETRY);
                timer.refresh = refresh;
            }
        }
    }

    /// An UPDATE without a description where the peer knows it, else a re-INVITE that repeats ours.
    fn send_refresh(&mut self, now: Instant, id: DialogId) -> Option<RequestId> {
        let entry = self.dialogs.get(&id)?;
        let request = if entry.peer_allows_update {
            DialogRequest::new(Method::Update)
        } else {
            DialogRequest::new(Method::Invite).with_body(entry.local_sdp.clone()?)
        };
        self.send_in_dialog(now, id, request).ok()
    }

    /// 422: ask again with the interval it names, once per answer that names a longer one (RFC 4028 7.3).
    pub(super) fn raise_session_interval(&mut self, now: Instant, id: RequestId, response: &Response) -> bool {
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return false;
        };
        let headers = &mut outgoing.request.headers;
        let (Some(min_se), Some(Ok(mut asked))) = (response.headers.min_se(), headers.session_expires()) else {
            return false;
        };
        if min_se <= asked.interval {
            return false;
        }
        asked.interval = min_se;
        headers.set(HeaderName::SessionExpires, asked.to_string());
        headers.set(HeaderName::MinSe, min_se.to_string());
        self.drop_forks(now, id);
        self.resend(now, id);
        true
    }
}
