//! Changes are carried through, whether or not whoever asked for them is still there.
//!
//! A handler is dropped with its connection, whatever it waits for: between the store and what is in force, or between a carrier that
//! has sold a number and the store. One that changes something has a task of its own, so that only its answer goes with the connection.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::routes;

pub(super) async fn through(path: MatchedPath, request: Request, next: Next) -> Response {
    if !routes::is_change(request.method(), path.as_str()) {
        return next.run(request).await;
    }
    tokio::spawn(next.run(request)).await.unwrap_or_else(|error| {
        tracing::error!(%error, path = path.as_str(), "a request was not carried through");
        ApiError::internal().into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::{post, put};
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

    /// Whether a handler ends whose client leaves in the middle of it.
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
        let router = Router::new()
            .route("/v1/kv/{key}", put(handler.clone()))
            .route("/v1/forms/{id}", post(handler))
            .route_layer(from_fn(through))
            .layer(from_fn(watched));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(format!("{request} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        begins.recv().await.unwrap();
        drop(client);
        leaves.recv().await.unwrap();
        opened.notify_one();
        end.await.is_ok()
    }

    #[tokio::test]
    async fn a_change_is_made_although_its_client_has_left_and_a_run_ends_with_it() {
        assert!(is_carried_through("PUT /v1/kv/a").await);
        assert!(!is_carried_through("POST /v1/forms/a").await);
    }
}
