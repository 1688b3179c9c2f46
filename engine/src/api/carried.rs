//! Changes are carried through, whether or not whoever asked for them is still there.
//!
//! A handler is dropped with its connection, whatever it waits for: between the store and what is in force, or between a carrier that
//! has sold a number and the store, or between two things that a script does for a form. One that changes something has a task of its
//! own, so that only its answer goes with the connection.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::AppState;
use super::error::ApiError;
use super::routes;

/// How many changes are under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Arc<watch::Sender<usize>>);

/// One of them, until dropped.
struct Change(Changes);

impl Changes {
    fn begin(&self) -> Change {
        self.0.send_modify(|count| *count += 1);
        Change(self.clone())
    }

    /// Resolves once there is none.
    pub(super) async fn made(&self) {
        // There is a sender as long as this is here.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Hands a request on that needs no key.
pub(super) async fn public(State(state): State<AppState>, path: MatchedPath, request: Request, next: Next) -> Response {
    through(&state.changes, path.as_str(), request, next).await
}

/// Hands a request on.
pub(super) async fn through(changes: &Changes, path: &str, request: Request, next: Next) -> Response {
    if !routes::is_change(request.method(), path) {
        return next.run(request).await;
    }
    let change = changes.begin();
    let made = async move {
        let response = next.run(request).await;
        drop(change);
        response
    };
    tokio::spawn(made).await.unwrap_or_else(|error| {
        tracing::error!(%error, path, "a request was not carried through");
        ApiError::internal().into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::{get, post, put};
    use futures_util::FutureExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Notify, mpsc, oneshot};

    use super::*;

    /// Tells when it is dropped.
    struct Guard(mpsc::UnboundedSender<()>);

    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    /// Whether a handler ends whose client leaves in the middle of it, and is waited for until then.
    async fn is_carried_through(request: &str) -> bool {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let (left, mut leaves) = mpsc::unbounded_channel();
        let (ended, end) = oneshot::channel();
        let (gate, ended) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Some(ended))));
        let opened = Arc::clone(&gate);
        let handler = move || {
            let (begun, gate, ended) = (begun.clone(), Arc::clone(&gate), ended.lock().unwrap().take());
            async move {
                begun.send(()).unwrap();
                gate.notified().await;
                ended.unwrap().send(()).unwrap();
                StatusCode::NO_CONTENT
            }
        };
        let watched = move |request: Request, next: Next| {
            let guard = Guard(left.clone());
            async move {
                let response = next.run(request).await;
                drop(guard);
                response
            }
        };
        let changes = Changes::default();
        let under_way = changes.clone();
        let carried = move |path: MatchedPath, request: Request, next: Next| {
            let changes = under_way.clone();
            async move { through(&changes, path.as_str(), request, next).await }
        };
        let router = Router::new()
            .route("/v1/kv/{key}", put(handler.clone()))
            .route("/v1/forms/{id}", post(handler.clone()))
            .route("/f/{id}", get(handler.clone()))
            .route("/v1/route", post(handler))
            .route_layer(from_fn(carried))
            .layer(from_fn(watched));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(format!("{request} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        begins.recv().await.unwrap();
        drop(client);
        leaves.recv().await.unwrap();
        let is_waited_for = changes.made().now_or_never().is_none();
        opened.notify_one();
        changes.made().await;
        let is_made = end.await.is_ok();
        assert_eq!(is_waited_for, is_made);
        is_made
    }

    #[tokio::test]
    async fn a_change_is_made_although_its_client_has_left_and_a_question_ends_with_it() {
        for change in ["PUT /v1/kv/a", "POST /v1/forms/a", "GET /f/a"] {
            assert!(is_carried_through(change).await, "{change}");
        }
        assert!(!is_carried_through("POST /v1/route").await);
    }
}
