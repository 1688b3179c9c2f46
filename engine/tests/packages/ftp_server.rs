//! An FTP server (RFC 959) with one folder, one user and passive transfers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

pub(crate) struct FtpServer {
    pub(crate) port: u16,
    files: Files,
}

impl FtpServer {
    pub(crate) fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.files.lock().unwrap().get(name).cloned()
    }
}

/// Serves until the test's runtime ends.
pub(crate) async fn start<const N: usize>(user: &'static str, password: &'static str, files: [(&str, &str); N]) -> FtpServer {
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let files: Files = Arc::new(Mutex::new(BTreeMap::from(files)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = Arc::clone(&files);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, user, password, Arc::clone(&shared)));
        }
    });
    FtpServer { port, files }
}

async fn serve(stream: TcpStream, user: &str, password: &str, files: Files) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut data: Option<TcpListener> = None;
    let mut named = String::new();
    let mut signed_in = false;
    writer.write_all(b"220 ready\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match command.to_ascii_uppercase().as_str() {
            "USER" => {
                named = argument.to_owned();
                "331 password?".to_owned()
            }
            "PASS" => {
                signed_in = named == user && argument == password;
                if signed_in { "230 welcome".to_owned() } else { "530 Login incorrect".to_owned() }
            }
            "QUIT" => {
                writer.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ if !signed_in => "530 Please login".to_owned(),
            "TYPE" => "200 ok".to_owned(),
            "PASV" => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let port = listener.local_addr()?.port();
                data = Some(listener);
                format!("227 Entering Passive Mode (127,0,0,1,{},{})", port >> 8, port & 0xff)
            }
            "LIST" => {
                let listing: String = files
                    .lock()
                    .unwrap()
                    .iter()
                    .map(|(name, bytes)| format!("-rw-r--r-- 1 ftp ftp {:>10} Nov 21 10:00 {name}\r\n", bytes.len()))
                    .collect();
                send(&mut writer, &mut data, listing.as_bytes()).await?
            }
            "RETR" => {
                let file = files.lock().unwrap().get(argument).cloned();
                match file {
                    Some(bytes) => send(&mut writer, &mut data, &bytes).await?,
                    None => "550 no such file".to_owned(),
                }
            }
            "STOR" => {
                writer.write_all(b"150 send it\r\n").await?;
                let Some(listener) = data.take() else { return Ok(()) };
                let mut bytes = Vec::new();
                listener.accept().await?.0.read_to_end(&mut bytes).await?;
                files.lock().unwrap().insert(argument.to_owned(), bytes);
                "226 stored".to_owned()
            }
            _ => "502 not here".to_owned(),
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

async fn send(
    control: &mut (impl AsyncWriteExt + Unpin),
    data: &mut Option<TcpListener>,
    bytes: &[u8],
) -> std::io::Result<String> {
    let Some(listener) = data.take() else { return Ok("425 PASV first".to_owned()) };
    control.write_all(b"150 here it comes\r\n").await?;
    let (mut stream, _) = listener.accept().await?;
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    Ok("226 sent".to_owned())
}
