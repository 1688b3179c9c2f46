//! Durable work asked for by scripts: counting in the key-value store, and jobs.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Instant;

use lockstep_engine::store::kv;
use lockstep_engine::store::{Clock, Place, Store};

use crate::server::Server;
use crate::stats::Figure;

/// Runs that work at once.
const RUNS: usize = 8;
/// Commits of the comparison.
const SINGLE_COMMITS: usize = 300;

/// The scripts of these figures.
pub(crate) const SCRIPTS: [(&str, &str); 2] = [
    (
        "count.js",
        "const { incr } = require('cxKV');\n\
         module.exports = async ({ count, width }) => {\n\
         \x20 const one = async () => { for (let i = 0; i < count / width; i += 1) await incr('n') };\n\
         \x20 await Promise.all(Array.from({ length: width }, one));\n\
         };\n",
    ),
    (
        "work.js",
        "const { add } = require('cxJob');\n\
         module.exports = {\n\
         \x20 main: ({ n }) => n + 1,\n\
         \x20 async feed({ count }) {\n\
         \x20   const jobs = await Promise.all(Array.from({ length: count }, (_, n) => add('work', 'main', { n })));\n\
         \x20   await Promise.all(jobs.map((job) => job.result));\n\
         \x20 },\n\
         };\n",
    ),
];

/// Durable `incr` from scripts.
pub(crate) fn incr(_: &[usize]) -> io::Result<Figure> {
    const EACH: usize = 4_000;
    let body = format!(r#"{{"data":{{"count":{EACH},"width":200}},"timeout_ms":60000}}"#);
    let rate = rate(&Server::start()?, RUNS * EACH, &body, "count")?;
    Ok(Figure {
        name: "incr from scripts, each durable before it resolves",
        measured: format!("{rate:.0}/s"),
        bar: "≥ 8,000/s",
        comparison: format!("the same write, one commit each: {:.0}/s", single_commits()?),
        met: rate >= 8_000.0,
    })
}

/// Jobs, from `add` to the result at hand.
pub(crate) fn jobs(_: &[usize]) -> io::Result<Figure> {
    const EACH: usize = 2_000;
    let body = format!(r#"{{"fn":"feed","data":{{"count":{EACH}}},"timeout_ms":60000}}"#);
    let one_core = rate(&Server::start()?, RUNS * EACH, &body, "work")?;
    let all_cores = rate(&Server::on_all_cores()?, RUNS * EACH, &body, "work")?;
    Ok(Figure {
        name: "jobs enqueued by scripts, run and finished, durable",
        measured: format!("{all_cores:.0}/s; all of it on one core {one_core:.0}/s"),
        bar: "≥ 4,000/s",
        comparison: format!("one write, one commit each: {:.0}/s", single_commits()?),
        met: all_cores >= 4_000.0,
    })
}

/// How many a second get done when `RUNS` runs of a script do `count` together.
fn rate(server: &Server, count: usize, body: &str, script: &str) -> io::Result<f64> {
    let before = server.cpu();
    let began = Instant::now();
    let runs: Vec<_> = (0..RUNS)
        .map(|_| {
            let (api, body, path) = (server.api, body.to_owned(), format!("/v1/scripts/{script}/run"));
            std::thread::spawn(move || post(api, &path, &body))
        })
        .collect();
    for run in runs {
        run.join().map_err(|_| io::Error::other("a client panicked"))??;
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!("  {count} in {took:.2} s; µs of CPU each, user + kernel: {}", server.cpu().each_since(&before, count));
    Ok(count as f64 / took)
}

fn post(api: SocketAddrV4, path: &str, body: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(api)?;
    write!(stream, "POST {path} HTTP/1.0\r\nHost: {api}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(io::Error::other(answer)) }
}

/// A second's writes when each waits for the one before it to be on disk.
fn single_commits() -> io::Result<f64> {
    let folder = std::env::temp_dir().join(format!("lockstep-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let store = Store::open(Place::File(folder.join("single.db")), Clock::system()).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let began = Instant::now();
    for _ in 0..SINGLE_COMMITS {
        let write = store.write(|connection, now| kv::incr(connection, now, ("default", 1 << 20), "n", 1.0, None));
        runtime.block_on(write).map_err(io::Error::other)?;
    }
    let took = began.elapsed().as_secs_f64();
    drop(store);
    std::fs::remove_dir_all(&folder)?;
    Ok(SINGLE_COMMITS as f64 / took)
}
