//! The stand-in's own event socket, which engines connect to: password, commands, jobs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_engine::esl::{Command, Event, FrameReader, Limits, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use super::arguments::{dial_string, separate};
use super::{Line, Setup};
use crate::engine::within;

/// What the server was asked for.
#[derive(Debug, Default)]
struct Book {
    commands: Vec<String>,
    lines: Vec<Line>,
    /// A call that runs there: its id and its variables.
    running: BTreeMap<String, BTreeMap<String, String>>,
}

/// A running stand-in; its connections end when it is dropped.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    book: Arc<(Mutex<Book>, Notify)>,
    /// Changes where all connections are to end.
    hang_up: Arc<watch::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        self.hang_up.send_replace(());
    }
}

impl Server {
    /// Starts one that lets in whoever says `password`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(password: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let book: Arc<(Mutex<Book>, Notify)> = Arc::default();
        let hang_up = Arc::new(watch::Sender::new(()));
        let task = {
            let (book, hang_up, password) = (Arc::clone(&book), Arc::clone(&hang_up), password.to_owned());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&book), hang_up.subscribe(), password.clone()));
                }
            })
        };
        Self { address, book, hang_up, task }
    }

    /// A call that runs there before anybody asks.
    pub fn run(&self, uuid: &str) {
        self.book.0.lock().unwrap_or_else(PoisonError::into_inner).running.insert(uuid.to_owned(), BTreeMap::new());
    }

    /// Ends all connections.
    pub fn disconnect(&self) {
        self.hang_up.send_replace(());
    }

    /// Waits until `look` finds something in the commands.
    pub async fn command(&self, text: &str) -> String {
        self.find(text, |book| book.commands.iter().find(|command| command.contains(text)).cloned()).await
    }

    /// Commands that contain `text`, so far.
    pub fn count(&self, text: &str) -> usize {
        let book = self.book.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.commands.iter().filter(|command| command.contains(text)).count()
    }

    /// The `number`th call that was handed over.
    pub async fn line(&self, number: usize) -> Line {
        self.find("a call", |book| book.lines.get(number).cloned()).await
    }

    async fn find<T>(&self, what: &str, mut look: impl FnMut(&Book) -> Option<T>) -> T {
        let search = async {
            loop {
                let more = self.book.1.notified();
                if let Some(found) = look(&self.book.0.lock().unwrap_or_else(PoisonError::into_inner)) {
                    return found;
                }
                more.await;
            }
        };
        within(what, search).await
    }
}

async fn serve(mut stream: TcpStream, book: Arc<(Mutex<Book>, Notify)>, mut hang_up: watch::Receiver<()>, password: String) {
    let mut reader = FrameReader::of_commands(Limits::FROM_CLIENT);
    let mut buffer = [0; 16 * 1024];
    let mut out = Vec::new();
    let mut is_authed = false;
    Message::bare([("Content-Type", "auth/request")]).write(&mut out);
    loop {
        // A client that is gone is seen at the next read.
        let _ = stream.write_all(&out).await;
        out.clear();
        let length = tokio::select! {
            read = stream.read(&mut buffer) => read.unwrap_or(0),
            _ = hang_up.changed() => return,
        };
        if length == 0 {
            return;
        }
        reader.push(&buffer[..length]);
        while let Ok(Some(frame)) = reader.poll_frame() {
            let command = Command::parse(frame);
            if let Some(line) = named(&command, &book).filter(|_| is_authed) {
                // Everything after this is about that channel.
                let mut rest = Vec::new();
                command.write(&mut rest);
                while let Ok(Some(frame)) = reader.poll_frame() {
                    Command::parse(frame).write(&mut rest);
                }
                let _ = stream.write_all(&out).await;
                return line.adopt(stream, &rest).await;
            }
            {
                let mut book = book.0.lock().unwrap_or_else(PoisonError::into_inner);
                book.commands.push(command.line().to_owned());
            }
            book.1.notify_waiters();
            match command.verb() {
                "auth" if command.args() == password => {
                    is_authed = true;
                    Message::reply("+OK accepted").write(&mut out);
                }
                "auth" => {
                    Message::reply("-ERR invalid").write(&mut out);
                    let _ = stream.write_all(&out).await;
                    return;
                }
                "event" if is_authed => Message::reply("+OK event listener enabled plain").write(&mut out),
                "api" if is_authed => Message::api_response(api(command.args(), &book).await).write(&mut out),
                "bgapi" if is_authed => {
                    let job = command.headers().get("Job-UUID").unwrap_or_default().to_owned();
                    Message::bare([
                        ("Content-Type", "command/reply"),
                        ("Reply-Text", &format!("+OK Job-UUID: {job}")),
                        ("Job-UUID", &job),
                    ])
                    .write(&mut out);
                    let mut event = Event::new("BACKGROUND_JOB");
                    event.push("Job-UUID", &job);
                    event.body = Some(api(command.args(), &book).await);
                    Message::event_plain(&event).write(&mut out);
                }
                _ => Message::reply("-ERR command not found").write(&mut out),
            }
        }
    }
}

/// The channel a client wants to hear of, and of no other.
fn named(command: &Command, book: &(Mutex<Book>, Notify)) -> Option<Line> {
    let uuid = command.line().strip_prefix("filter Unique-ID ")?;
    let book = book.0.lock().unwrap_or_else(PoisonError::into_inner);
    book.lines.iter().find(|line| line.uuid() == uuid).cloned()
}

async fn api(line: &str, book: &(Mutex<Book>, Notify)) -> String {
    let words = separate(line, ' ', 10);
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let running = |uuid: &str| book.0.lock().unwrap_or_else(PoisonError::into_inner).running.get(uuid).cloned();
    match word(0) {
        "status" => "UP 0 years, 0 days, 0 hours, 2 minutes\n".to_owned(),
        "show" => {
            r#"{"row_count":1,"rows":[{"reg_user":"1001","realm":"example.com","url":"sofia/internal/sip:1001@192.0.2.9"}]}"#
                .to_owned()
        }
        "uuid_exists" => {
            let lines = book.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone();
            let lives = lines.iter().any(|line| line.with(|channel| channel.uuid() == word(1) && !channel.is_over()));
            (lives || running(word(1)).is_some()).to_string()
        }
        "uuid_setvar" | "uuid_transfer" if running(word(1)).is_none() => "-ERR No such channel!\n".to_owned(),
        "uuid_setvar" => {
            let mut book = book.0.lock().unwrap_or_else(PoisonError::into_inner);
            book.running.entry(word(1).to_owned()).or_default().insert(word(2).to_owned(), word(3).to_owned());
            "+OK\n".to_owned()
        }
        "uuid_transfer" => {
            let variables = running(word(1)).unwrap_or_default();
            hand_over(word(2), word(1), variables, book).await
        }
        "originate" => originate(line, book).await,
        other => format!("-ERR {other} Command not found!\n"),
    }
}

async fn originate(line: &str, book: &(Mutex<Book>, Notify)) -> String {
    let rest = line.strip_prefix("originate ").unwrap_or_default();
    let Some((variables, rest)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return "-USAGE: <call url> <exten>|&<application_name>(<app_args>)\n".to_owned();
    };
    let words = separate(rest, ' ', 10);
    let target = words.first().map_or("", String::as_str);
    if dial_string(target).concat().len() != 1 {
        return "-ERR more than one endpoint\n".to_owned();
    }
    if let Some(cause) = target.strip_prefix("error/") {
        return format!("-ERR {cause}\n");
    }
    let variables: BTreeMap<String, String> = separate(variables, ',', 100)
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let uuid = variables.get("origination_uuid").cloned().unwrap_or_default();
    let socket = words.get(1).and_then(|app| app.strip_prefix("&socket(")?.strip_suffix(')')).unwrap_or_default().to_owned();
    hand_over(&format!("socket:{socket}"), &uuid, variables, book).await
}

async fn hand_over(socket: &str, uuid: &str, variables: BTreeMap<String, String>, book: &(Mutex<Book>, Notify)) -> String {
    let words = separate(socket, ' ', 5);
    let address = words.first().and_then(|word| word.strip_prefix("socket:")?.parse().ok());
    let Some(address) = address else { return "-ERR DESTINATION_OUT_OF_ORDER\n".to_owned() };
    let setup = Setup {
        uuid: uuid.to_owned(),
        is_async: words.iter().any(|word| word == "async"),
        is_full: words.iter().any(|word| word == "full"),
        is_answered: true,
        is_outbound: true,
        variables,
        ..Setup::default()
    };
    let line = Line::dial(address, setup).await;
    book.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
    book.1.notify_waiters();
    format!("+OK {uuid}\n")
}
