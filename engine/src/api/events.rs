//! `/v1/events`: a WebSocket that carries what happens, as JSON texts, and takes commands.
//!
//! Each event has a number. A client that comes back with `?since=NUMBER` gets what it has missed, as far as it is kept.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Caller, Granted};
use super::error::ApiError;
use super::websocket::farewell;
use super::{AppState, event_commands};
use crate::core::timeline::What;
use crate::core::{ChannelEvent, EngineEvent, EngineHandle, KeysWatched, Missed, Published, Watcher};

/// How long a client may take to accept one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A ping this often finds clients that went away without saying so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Commands that may wait for the one before them; a client that sends more is not read meanwhile.
const MAX_COMMANDS: usize = 64;
/// How long the commands of a client that has closed go on.
const CARRY_ON: Duration = Duration::from_secs(10);
/// The largest command.
const MAX_INBOUND: usize = 64 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    call: Option<String>,
    types: Option<String>,
    since: Option<u64>,
}

pub(super) async fn events(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Extension(granted): Extension<Granted>,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let since = query.since;
    let filter = Filter::new(query)?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(format!("expected a WebSocket: {}", error.body_text())))?;
    // Subscribed before the upgrade is answered: what happens after the answer is not missed.
    let log = state.engine.events();
    let last = log.last();
    let watcher = since.map_or_else(|| log.watch(), |since| log.watch_since(since));
    // Numbers begin anew with the engine: one that was never given out is from another life.
    let resumed = since.is_some_and(|since| since <= last);
    let hello = json!({ "type": "hello", "engine": log.engine(), "seq": last, "resumed": resumed }).to_string();
    let keys = filter.wants_keys().then(|| log.watch_keys());
    let client = EventsClient { engine: state.engine.clone(), caller, granted, filter, _keys: keys };
    Ok(upgrade.max_message_size(MAX_INBOUND).on_upgrade(move |socket| client.forward(socket, watcher, hello)))
}

/// Which events a client wants.
#[derive(Debug)]
struct Filter {
    call: Option<String>,
    /// Empty: all.
    types: BTreeSet<&'static str>,
}

impl Filter {
    fn new(query: EventsQuery) -> Result<Self, ApiError> {
        let mut types = BTreeSet::new();
        for name in query.types.as_deref().unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
            let known: &[&str] = match name.trim() {
                "call" => &["call-started", "call-state", "call-ended", "call-over"],
                "call-started" => &["call-started"],
                "call-state" => &["call-state"],
                "call-ended" => &["call-ended"],
                "call-over" => &["call-over"],
                "timeline" => &["timeline"],
                "log" => &["log"],
                "channel" => &["channel"],
                "registration" => &["registration"],
                "kv" => &["kv"],
                "job" => &["job"],
                "alert" => &["alert"],
                "script" | "scripts-loaded" => &["scripts-loaded"],
                other => return Err(ApiError::bad_request(format!("types: there are no events of type `{other}`"))),
            };
            types.extend(known);
        }
        Ok(Self { call: query.call, types })
    }

    fn wants(&self, event: &EngineEvent) -> bool {
        self.call.as_deref().is_none_or(|call| event.call() == Some(call))
            && (self.types.contains(type_of(event)) || self.types.is_empty() && !matches!(event, EngineEvent::Kv(_)))
    }

    /// Changes of keys are told only to those who ask for them by name.
    fn wants_keys(&self) -> bool {
        self.call.is_none() && self.types.contains("kv")
    }
}

/// A log line is a line of the timeline, too; clients that only want log lines ask for those.
fn type_of(event: &EngineEvent) -> &'static str {
    match event {
        EngineEvent::CallStarted { .. } => "call-started",
        EngineEvent::CallState { .. } => "call-state",
        EngineEvent::Timeline { entry, .. } if matches!(entry.what, What::Log { .. }) => "log",
        EngineEvent::Timeline { .. } => "timeline",
        EngineEvent::RunLog { .. } => "log",
        EngineEvent::CallEnded { .. } => "call-ended",
        EngineEvent::CallOver { .. } => "call-over",
        EngineEvent::Channel { .. } => "channel",
        EngineEvent::Registration { .. } => "registration",
        EngineEvent::ScriptsLoaded { .. } => "scripts-loaded",
        EngineEvent::Kv(_) => "kv",
        EngineEvent::Job(_) => "job",
        EngineEvent::Alert(_) => "alert",
    }
}

fn render(published: &Published) -> String {
    let event = &published.event;
    let mut value = serde_json::to_value(event).unwrap_or(Value::Null);
    value["type"] = json!(type_of(event));
    value["seq"] = json!(published.seq);
    value["at"] = json!(published.at_ms);
    if let EngineEvent::Channel { what, .. } = event {
        describe(&mut value, what);
    }
    value.to_string()
}

/// What happened to a channel.
fn describe(value: &mut Value, what: &ChannelEvent) {
    value["event"] = json!(what.name());
    match what {
        ChannelEvent::Dtmf { digit, duration_ms, method } => {
            value["digit"] = json!(digit);
            value["digit_ms"] = json!(duration_ms);
            value["method"] = json!(method);
        }
        ChannelEvent::Started(activity) => value["operation"] = json!(activity),
        ChannelEvent::Completed { activity, result, response } => {
            value["operation"] = json!(activity);
            value["ok"] = json!(result.is_ok());
            value["error"] = json!(result.as_ref().as_ref().err().map(ToString::to_string));
            value["response"] = json!(response);
        }
        ChannelEvent::Bridged | ChannelEvent::Unbridged(_) => {}
        ChannelEvent::Created
        | ChannelEvent::Ringing
        | ChannelEvent::EarlyMedia
        | ChannelEvent::Answered
        | ChannelEvent::Held
        | ChannelEvent::Resumed
        | ChannelEvent::HungUp
        | ChannelEvent::Destroyed => {}
    }
}

/// One client.
struct EventsClient {
    engine: EngineHandle,
    caller: Caller,
    granted: Granted,
    filter: Filter,
    _keys: Option<KeysWatched>,
}

impl EventsClient {
    fn is_theirs(&self, published: &Published) -> bool {
        published.account.as_deref().is_none_or(|account| self.caller.sees(account))
    }

    /// Commands that were sent are carried out for a while, though their client has closed right behind them: nobody reads the answers
    /// then.
    async fn forward(self, socket: WebSocket, events: Watcher, hello: String) {
        let mut commands = Commands { client: &self, waiting: VecDeque::new(), under_way: None };
        let end = self.converse(socket, events, hello, &mut commands).await;
        commands.carry_on(end, CARRY_ON).await;
    }

    /// Until one side goes.
    async fn converse(&self, mut socket: WebSocket, mut events: Watcher, hello: String, commands: &mut Commands<'_>) -> End {
        if socket.send(Message::Text(hello.into())).await.is_err() {
            return End::Broken;
        }
        let mut ping = tokio::time::interval(PING_INTERVAL);
        loop {
            let may_read = commands.waiting.len() < MAX_COMMANDS;
            let message = tokio::select! {
                answer = commands.answer() => Message::Text(answer.into()),
                event = events.recv() => match event {
                    Ok(event) if self.is_theirs(&event) && self.filter.wants(&event) => Message::Text(render(&event).into()),
                    Ok(_) => continue,
                    Err(Missed::Lagged(missed)) => Message::Text(json!({ "type": "lagged", "missed": missed }).to_string().into()),
                    Err(Missed::Closed) => break,
                },
                _ = ping.tick() => Message::Ping(Vec::new().into()),
                inbound = socket.recv(), if may_read => match inbound {
                    Some(Ok(Message::Close(_))) | None => return End::Closed,
                    Some(Err(error)) => {
                        if let Some(frame) = farewell(error) {
                            // The client may have gone.
                            let _ = tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Close(Some(frame)))).await;
                        }
                        return End::Broken;
                    }
                    Some(Ok(Message::Text(command))) => {
                        commands.waiting.push_back(command);
                        continue;
                    }
                    Some(Ok(_)) => continue,
                },
            };
            match tokio::time::timeout(SEND_TIMEOUT, socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return End::Broken,
            }
        }
        // The engine has stopped; a client that is gone already is not told.
        let _ = socket.send(Message::Close(None)).await;
        End::Broken
    }
}

/// How a conversation has ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The client has closed, as WebSockets are.
    Closed,
    /// By an error, or by the engine.
    Broken,
}

/// What a client asks for, one after another while events go on: a call that is placed is answered when somebody takes it.
struct Commands<'a> {
    client: &'a EventsClient,
    waiting: VecDeque<Utf8Bytes>,
    under_way: Option<Pin<Box<dyn Future<Output = String> + Send + 'a>>>,
}

impl Commands<'_> {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    /// Carries out what the client has left, for a while. Only after it has closed is anything more begun, and no calls are placed
    /// behind the command that is next: each would take until somebody takes it.
    async fn carry_on(&mut self, end: End, most: Duration) {
        match end {
            End::Closed => {
                self.begin();
                self.waiting.retain(|command| !event_commands::places_a_call(command));
            }
            End::Broken => self.waiting.clear(),
        }
        let all = async {
            while !self.is_empty() {
                self.answer().await;
            }
        };
        // Nobody is there to be told of what took too long.
        let _ = tokio::time::timeout(most, all).await;
    }

    fn begin(&mut self) {
        let client = self.client;
        if self.under_way.is_none()
            && let Some(command) = self.waiting.pop_front()
        {
            let answer = async move { event_commands::answer(&client.engine, (&client.caller, &client.granted), &command).await };
            self.under_way = Some(Box::pin(answer));
        }
    }

    /// The answer to the next command, once there is one. May be dropped and asked for again.
    async fn answer(&mut self) -> String {
        self.begin();
        let Some(answer) = &mut self.under_way else { return std::future::pending().await };
        let answer = answer.await;
        self.under_way = None;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::handle::Request;
    use crate::core::{EngineError, EventLog, KeyChange};
    use crate::platform::Platform;
    use crate::runs::RunsHandle;
    use crate::store::Clock;
    use crate::store::kv::Space;

    fn filter(call: Option<&str>, types: Option<&str>) -> Result<Filter, ApiError> {
        Filter::new(EventsQuery { call: call.map(str::to_owned), types: types.map(str::to_owned), since: None })
    }

    fn started(call: &str) -> EngineEvent {
        EngineEvent::CallStarted { call: call.to_owned(), from: "a".to_owned(), to: "b".to_owned(), script: None }
    }

    #[test]
    fn events_are_chosen_by_call_and_type() {
        assert!(filter(None, None).unwrap().wants(&started("1")));
        assert!(filter(Some("1"), Some("call,log")).unwrap().wants(&started("1")));
        assert!(!filter(Some("2"), None).unwrap().wants(&started("1")));
        assert!(!filter(None, Some("log,call-ended")).unwrap().wants(&started("1")));
    }

    #[test]
    fn keys_are_told_to_those_who_ask_for_them_by_name() {
        let log = EventLog::default();
        let changed = || log.key_notice(&Clock::system(), "default", (Space::Texts, "a"), KeyChange::Deleted);
        assert!(changed().is_none());
        let watched = log.watch_keys();
        let mut watcher = log.watch();
        changed().unwrap().tell();
        let event = watcher.try_recv().unwrap().unwrap();
        assert!(filter(None, Some("kv,job")).unwrap().wants(&event));
        assert!(!filter(None, None).unwrap().wants(&event) && !filter(None, Some("job")).unwrap().wants(&event));
        let asked = |call, types| filter(call, types).unwrap().wants_keys();
        assert_eq!([asked(None, Some("kv")), asked(None, None), asked(Some("1"), Some("kv"))], [true, false, false]);
        drop(watched);
        assert!(changed().is_none());
    }

    #[test]
    fn an_unknown_type_is_refused() {
        assert!(filter(None, Some("call,jobs")).is_err());
    }

    #[tokio::test]
    async fn what_a_client_leaves_behind_is_carried_out_where_it_has_closed_and_within_a_time() {
        let platform = Platform::in_memory(&Config::default()).unwrap();
        let (engine, mut inbox, _) = EngineHandle::new(Vec::new(), RunsHandle::stopped(), platform);
        let client = EventsClient {
            engine,
            caller: Caller::default(),
            granted: Granted::everything(),
            filter: filter(None, None).unwrap(),
            _keys: None,
        };
        let place = r#"{"command":"originate","to":"1000","from":"2","destination":"1000"}"#;
        let hang_up = |call: &str| json!({ "command": "hangup", "call": call }).to_string();
        let left = || {
            let waiting = [hang_up("a"), place.to_owned(), hang_up("b")].into_iter().map(Utf8Bytes::from).collect();
            Commands { client: &client, waiting, under_way: None }
        };
        left().carry_on(End::Broken, CARRY_ON).await;
        assert!(inbox.try_recv().is_err(), "nothing is begun for who has broken off");
        // Nobody answers.
        left().carry_on(End::Closed, Duration::ZERO).await;
        assert!(matches!(inbox.try_recv(), Ok(Request::Call(call, _)) if call == "a"));
        assert!(inbox.try_recv().is_err());
        let mut commands = left();
        let answered = async {
            let mut asked = Vec::new();
            for _ in 0..2 {
                let Some(Request::Call(call, reply)) = inbox.recv().await else { panic!("only whose calls they are") };
                asked.push(call.clone());
                assert!(reply.send(Err(EngineError::NoSuchCall(call))).is_ok());
            }
            asked
        };
        let ((), asked) = tokio::join!(commands.carry_on(End::Closed, CARRY_ON), answered);
        assert_eq!(asked, ["a", "b"]);
    }

    #[test]
    fn an_event_says_its_type() {
        let published = Published { seq: 5, at_ms: 9, account: None, event: started("1") };
        let value: Value = serde_json::from_str(&render(&published)).unwrap();
        assert_eq!((value["type"].as_str(), value["call"].as_str()), (Some("call-started"), Some("1")));
        assert_eq!((value["seq"].as_u64(), value["at"].as_u64()), (Some(5), Some(9)));
    }
}
