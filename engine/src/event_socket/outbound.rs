//! Calls that an application takes over: we connect to it, and it is told of its call and steers it.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::client::{Application, Client};
use super::hub::Hub;
use super::listeners::Listener;
use super::{notices, server};
use crate::core::ApplicationCall;

/// How long an application may take to accept a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Has the application take over its call, until either of them has gone.
pub(super) async fn call(hub: Arc<Hub>, wanted: ApplicationCall) {
    let ApplicationCall { call, takeover, account, addr, is_async, full, led_on } = wanted;
    let own = (call.as_str(), takeover);
    let stream = match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(&addr)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return over(&hub, own, Err(format!("{addr}: {error}"))).await,
        Err(_) => return over(&hub, own, Err(format!("{addr}: no connection in {} s", CONNECT_TIME.as_secs()))).await,
    };
    let listener = Arc::new(Listener::of_call(&call, account));
    hub.join(Arc::clone(&listener));
    let (mut commands, writing) = server::open(stream, &listener);
    let application = Application { call: call.clone(), is_async, full };
    let mut client = Client::outbound(Arc::clone(&hub), Arc::clone(&listener), application);
    // The call may have ended while we connected: then nothing will say so any more.
    let mut is_over = hub.engine.channel(&call).await.is_err();
    while !is_over {
        tokio::select! {
            biased;
            command = commands.next() => match command {
                Ok(Some(command)) => {
                    if client.command(command).await == super::client::Flow::Close {
                        break;
                    }
                }
                Ok(None) => break,
                Err(why) => {
                    client.tell(notices::malformed(&why));
                    break;
                }
            },
            () = ended(&listener) => is_over = true,
            // As for its end: the application has nothing to steer any more.
            () = led_on.told() => is_over = true,
            () = listener.outbox.until_cut_off() => break,
        }
    }
    if is_over {
        if let Some(time) = client.linger.time() {
            client.tell(notices::lingers(&call, client.linger.seconds()));
            // Whether the client goes first or the time is up makes no difference.
            let _ = tokio::time::timeout(time, server::converse(&mut client, &mut commands)).await;
        }
        if !client.has_left {
            client.tell(notices::call_over(&call));
        }
    }
    listener.outbox.close();
    hub.leave(&listener);
    over(&hub, own, Ok(())).await;
    server::finish(commands, writing, &listener.outbox, &addr).await;
}

async fn ended(listener: &Listener) {
    match &listener.own_call {
        Some(own) => own.over.notified().await,
        None => std::future::pending().await,
    }
}

async fn over(hub: &Hub, (call, takeover): (&str, u64), how: Result<(), String>) {
    if let Err(error) = hub.engine.application_over(call, takeover, how).await {
        tracing::debug!(%error, call, "the end of an application was not told");
    }
}
