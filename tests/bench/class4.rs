//! The Class 4 hook: runs of routing scripts, and what they add to a call.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::js::{PRELUDE_VERSION, Worker};
use lockstep_ctx_api::wire::{
    Bundle, FromWorker, Limits, RunHeader, RunId, RunState, ScriptType, Start, ToWorker, TurnEnd, read_frame, write_frame,
};
use lockstep_engine::config::{ScriptEntry, SecurityConfig};
use lockstep_engine::fetch::{EgressPolicy, Fetcher};
use lockstep_engine::host::HostServices;
use lockstep_engine::runs::{RunKind, RunRequest, RunsConfig, RunsHandle, RunsThread, ScriptPlace};
use lockstep_engine::script::{Program, ProgramLimits, ProgramSet};
use serde_json::{Value, json};

use crate::load::{Load, Plan};
use crate::net;
use crate::server::{CALLEE_PORT, Server, binary};
use crate::stats::{Figure, Sorted};

/// How long a rate is measured.
const TIME: Duration = Duration::from_secs(3);
/// How often what comes at half of a rate is measured, until the rate is the same afterwards: it is half load only as long as the machine stays
/// as fast as it was.
const STEADY_TRIES: usize = 7;
/// Runs that wait at once for one worker.
const AT_ONCE: usize = 64;

/// Twenty lines that do what routing scripts do.
const SCRIPT: &str = "function main(data) {
  const { routing } = data;
  const number = routing.dest_number.replace(/^\\+/, '');
  if (!/^\\d{5,15}$/.test(number)) {
    throw new Error('484 Address Incomplete');
  }
  const pool = data.caller_ids || [];
  const rows = routing.egress_routing.filter((row) => !(data.avoid || []).includes(Number(Object.keys(row.gw)[0])));
  rows.forEach((row, index) => {
    for (const id of Object.keys(row.gw)) {
      row.gw[id].cli = pool.length ? pool[index % pool.length] : routing.cli;
    }
    row.headers.push({ key: 'X-Route', value: index });
  });
  if (number.startsWith('4479')) {
    rows.reverse();
  }
  data.headers.push({ key: 'X-Customer-ID', value: routing.account_id });
  data.egress_routing = rows;
  return data;
}";

const TINY: &str = "function main(data) { return data; }";

/// The script of these figures, as it runs everywhere here: synchronous, several runs at once.
pub(crate) fn scripts() -> [(&'static str, String); 1] {
    [("route.js", format!("// @lockstep type=script concurrency={AT_ONCE}\n{SCRIPT}"))]
}

/// Routes to the callee, with a script and without.
pub(crate) fn routes() -> String {
    let route = |prefix: &str, script: &str| format!("[[route]]\nprefix = \"{prefix}\"\ngateways = [1]\n{script}\n");
    route("441", "") + &route("442", "script = \"route\"")
}

/// A routing object of about 4 KB.
fn object() -> String {
    let row = |id: u32| {
        json!({ "gw": { id.to_string(): { "cli": "441234567890" } },
            "headers": [{ "key": "X-Customer-ID", "value": "12" }, { "key": "X-Trace", "value": format!("{id:032x}") }],
            "remove_headers": ["X-Internal", "X-Billing"] })
    };
    let rows: Vec<Value> = (1..=8).map(row).collect();
    let params = json!({ "fU": "441234567890", "oU": "442079460001", "callid": "a84b4c76e66710@pc33.example.com",
        "userAgent": "Example SBC 7.2", "si": "203.0.113.9", "sp": 5060, "proto": "udp" });
    let routing = json!({ "callid": "a84b4c76e66710@pc33.example.com", "callidb": "b", "server": "sbc1", "switch": "sw1",
        "direction": "term", "account_id": 12, "cli": "441234567890", "dest_number": "442079460001", "ou": "442079460001",
        "card_rev": 3, "params": params, "profile": { "auth": 0.4, "ingress": 0.9, "total": 1.7 }, "egress_routing": rows,
        "headers": [], "remove_headers": [], "log": [] });
    json!({ "routing": routing, "egress_routing": rows, "headers": [], "remove_headers": [],
        "caller_ids": ["442079460001", "442079460002"], "avoid": [9] })
    .to_string()
}

fn program(source: &str) -> Arc<Program> {
    let bundle = Bundle { entry: "main.js".into(), files: [("main.js".to_owned(), source.into())].into(), ..Bundle::default() };
    Arc::new(Program {
        name: "main".into(),
        file: "main.js".into(),
        uuid: "00000000-0000-8000-8000-000000000000".into(),
        id: 1,
        account: "default".into(),
        script_type: ScriptType::Script,
        settings: ScriptEntry { concurrency: Some(AT_ONCE as u32), ..ScriptEntry::new("main.js") },
        limits: ProgramLimits { memory_bytes: 100 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
        time_zone: "UTC".into(),
        env: BTreeMap::new(),
        environment: Default::default(),
        bundle_id: 1,
        bundle: Arc::new(bundle),
        version: "0123456789abcdef".into(),
        sources: BTreeMap::new(),
    })
}

/// Runs a second inside a worker: it reads frames as they come over its socket and writes those that go back. Who orders the runs is
/// not timed.
fn inside(source: &str, data: &str) -> io::Result<f64> {
    let mut worker = Worker::new().map_err(|error| io::Error::other(error.message))?;
    let program = program(source);
    worker.handle(ToWorker::Bundle { bundle: program.bundle_id, sources: Arc::clone(&program.bundle) }, &mut Vec::new());
    let (mut inbound, mut outbound, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    let (mut took, mut runs) = (Duration::ZERO, 0);
    while took < TIME {
        inbound.clear();
        for _ in 0..AT_ONCE {
            runs += 1;
            write_frame(&start(&program, RunId(runs), data), &mut inbound).map_err(io::Error::other)?;
        }
        outbound.clear();
        let began = Instant::now();
        let mut rest = inbound.as_slice();
        while let Some((frame, length)) = read_frame::<ToWorker>(rest).map_err(io::Error::other)? {
            rest = rest.get(length..).unwrap_or_default();
            worker.handle(frame, &mut frames);
            for frame in frames.drain(..) {
                write_frame(&frame, &mut outbound).map_err(io::Error::other)?;
            }
        }
        took += began.elapsed();
        let settled = settled(&outbound)?;
        if settled != AT_ONCE {
            return Err(io::Error::other(format!("{settled} of {AT_ONCE} runs gave a result")));
        }
    }
    Ok(runs as f64 / took.as_secs_f64())
}

/// The frame that has a worker run the program.
fn start(program: &Program, run: RunId, data: &str) -> ToWorker {
    let header = RunHeader {
        bundle: program.bundle_id,
        script_type: program.script_type,
        function: None,
        env: program.env.clone(),
        limits: Limits { memory_bytes: program.limits.memory_bytes, turn_ms: program.limits.turn_ms, after_end_ms: 10_000 },
        seed: [7; 32],
        time_zone: program.time_zone.clone(),
        prelude: PRELUDE_VERSION,
        is_awaited: true,
    };
    let start = Start { at: 1_800_000_000_000, data: data.to_owned(), call: None };
    ToWorker::Start { run, epoch: 0, header: Arc::new(header), start: Arc::new(start) }
}

/// How many of a worker's frames are the end of a run that gave a result, and left nothing in the worker.
fn settled(mut frames: &[u8]) -> io::Result<usize> {
    let mut settled = 0;
    while let Some((frame, length)) = read_frame::<FromWorker>(frames).map_err(io::Error::other)? {
        frames = frames.get(length..).unwrap_or_default();
        let is_settled = |end: &TurnEnd| end.gone && matches!(end.state, RunState::Finished { result: Some(_) });
        settled += usize::from(matches!(&frame, FromWorker::TurnEnd(end) if is_settled(end)));
    }
    Ok(settled)
}

/// How fast a machine is that does nothing else: routing scripts a second in one QuickJS context.
pub(crate) fn pace() -> io::Result<f64> {
    bare_for(Duration::from_millis(200), SCRIPT, &object())
}

/// The same in one QuickJS context: parse, call, print.
fn bare(source: &str, data: &str) -> io::Result<f64> {
    bare_for(TIME, source, data)
}

fn bare_for(time: Duration, source: &str, data: &str) -> io::Result<f64> {
    let runtime = rquickjs::Runtime::new().map_err(io::Error::other)?;
    let context = rquickjs::Context::full(&runtime).map_err(io::Error::other)?;
    context
        .with(|ctx| -> rquickjs::Result<f64> {
            ctx.eval::<(), _>(source)?;
            let main: rquickjs::Function<'_> = ctx.globals().get("main")?;
            let (began, mut runs) = (Instant::now(), 0_u32);
            while began.elapsed() < time {
                let result: rquickjs::Value<'_> = main.call((ctx.json_parse(data)?,))?;
                if ctx.json_stringify(result)?.is_some() {
                    runs += 1;
                }
            }
            Ok(f64::from(runs) / began.elapsed().as_secs_f64())
        })
        .map_err(io::Error::other)
}

/// Runs a second through the thread of runs and one worker process, all on one core; and how long one took, in milliseconds, where half
/// as many came from the other core.
fn through_engine(data: &str) -> io::Result<(f64, Sorted)> {
    let programs = Arc::new(ProgramSet::new([program(SCRIPT)], Vec::new()));
    let (_keep, watched) = tokio::sync::watch::channel(programs);
    let (handle, inbox) = RunsHandle::new(watched);
    let fetcher = Fetcher::new(EgressPolicy::new(SecurityConfig::default())).map_err(io::Error::other)?;
    let place = ScriptPlace::Workers { program: binary(), workers: 1 };
    let config = RunsConfig { place, fetcher, services: HostServices::default(), events: Default::default(), journals: None };
    let thread = RunsThread::start(config, handle, inbox)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = &thread.handle();
    runtime.block_on(async {
        let order = || RunRequest::new("main", RunKind::Hook, data).timeout(Some(Duration::from_secs(30)));
        handle.run(order()).await.map_err(io::Error::other)?;
        let one = |began: Instant| async move {
            let mut runs = 0_u32;
            while began.elapsed() < TIME {
                handle.run(order()).await.map_err(io::Error::other)?;
                runs += 1;
            }
            Ok::<_, io::Error>(runs)
        };
        let rate = || async {
            let began = Instant::now();
            let runs = futures_util::future::try_join_all((0..AT_ONCE).map(|_| one(began))).await?;
            Ok::<_, io::Error>(f64::from(runs.into_iter().sum::<u32>()) / began.elapsed().as_secs_f64())
        };
        let mut before = rate().await?;
        let mut tries = 0;
        loop {
            net::pin(0);
            let times = paced(handle, data, before / 2.0).await;
            net::pin(1);
            let (times, after) = (times?, rate().await?);
            tries += 1;
            if is_steady(before, after) || tries == STEADY_TRIES {
                return Ok((before, times));
            }
            before = after;
        }
    })
}

/// How long runs take of which so many are ordered a second, one by one, whatever has become of those before.
async fn paced(handle: &RunsHandle, data: &str, rate: f64) -> io::Result<Sorted> {
    let (due, mut ordered) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let began = Instant::now();
        let moments = (0..).map(|number| Duration::from_secs_f64(f64::from(number) / rate));
        for moment in moments.take_while(|moment| *moment < TIME) {
            std::thread::sleep(moment.saturating_sub(began.elapsed()));
            if due.send(()).is_err() {
                return;
            }
        }
    });
    let mut under_way = tokio::task::JoinSet::new();
    while let Some(()) = ordered.recv().await {
        let (handle, order) = (handle.clone(), RunRequest::new("main", RunKind::Hook, data));
        under_way.spawn(async move {
            let began = Instant::now();
            handle.run(order).await.map(|_| began.elapsed().as_secs_f64() * 1e3)
        });
    }
    let mut times = Vec::with_capacity(under_way.len());
    while let Some(ended) = under_way.join_next().await {
        times.push(ended.map_err(io::Error::other)?.map_err(io::Error::other)?);
    }
    Ok(Sorted::new(times))
}

/// Whether the machine was as fast after something as it had been before.
fn is_steady(before: f64, after: f64) -> bool {
    (before / after).max(after / before) < 1.15
}

/// Routing scripts inside a worker.
pub(crate) fn worker(_: &[usize]) -> io::Result<Figure> {
    let data = object();
    let rate = inside(SCRIPT, &data)?;
    Ok(Figure {
        name: "Class 4 runs inside a worker, frames in to frames out, 4 KB object, 20-line script",
        measured: format!("{rate:.0}/s"),
        bar: "≥ 15,000/s",
        comparison: format!("bare QuickJS: parse, call, print: {:.0}/s", bare(SCRIPT, &data)?),
        met: rate >= 15_000.0,
    })
}

/// The least script on the least object.
pub(crate) fn tiny(_: &[usize]) -> io::Result<Figure> {
    let rate = inside(TINY, "{}")?;
    Ok(Figure {
        name: "Class 4 runs inside a worker, frames in to frames out, one-line script",
        measured: format!("{rate:.0}/s"),
        bar: "≥ 150,000/s",
        comparison: format!("bare QuickJS: parse, call, print: {:.0}/s", bare(TINY, "{}")?),
        met: rate >= 150_000.0,
    })
}

/// Routing scripts through the engine's queue and a worker process.
pub(crate) fn engine(_: &[usize]) -> io::Result<Figure> {
    let data = object();
    let (rate, times) = through_engine(&data)?;
    let p99 = times.percentile(0.99);
    Ok(Figure {
        name: "Class 4 runs through the engine, worker and load on one core",
        measured: format!("{rate:.0}/s, p99 {p99:.2} ms at half of that"),
        bar: "≥ 8,000/s, p99 < 1 ms",
        comparison: format!("bare QuickJS: parse, call, print: {:.0}/s", bare(SCRIPT, &data)?),
        met: rate >= 8_000.0 && p99 < 1.0,
    })
}

/// A connection that stays open.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(api: SocketAddrV4) -> io::Result<Self> {
        let stream = TcpStream::connect(api)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    fn route(&mut self, api: SocketAddrV4, body: &str) -> io::Result<()> {
        let request =
            format!("POST /v1/route?script=route HTTP/1.1\r\nHost: {api}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut status) = (String::new(), 0, String::new());
        while self.0.read_line({
            line.clear();
            &mut line
        })? > 2
        {
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some((name, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
                length = value.trim().parse().map_err(|_| io::Error::other(format!("{name}: {value}")))?;
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        if status.contains(" 200 ") { Ok(()) } else { Err(io::Error::other(status)) }
    }
}

/// Requests a second of `clients`, each waiting for its answer, no faster than `rate`; and how long each took, ms.
fn requests(api: SocketAddrV4, clients: usize, rate: Option<f64>, body: &Arc<str>) -> io::Result<(f64, Sorted)> {
    let began = Instant::now();
    let client = |number: usize| {
        let body = Arc::clone(body);
        std::thread::spawn(move || -> io::Result<Vec<f64>> {
            let mut connection = Connection::open(api)?;
            let mut times = Vec::new();
            for turn in 0_u32.. {
                let due =
                    rate.map(|rate| began + Duration::from_secs_f64((f64::from(turn) * clients as f64 + number as f64) / rate));
                if let Some(due) = due {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                if began.elapsed() >= TIME {
                    break;
                }
                // From when it was due: a client that is held up does not hide what others would have seen.
                let from = due.unwrap_or_else(Instant::now);
                connection.route(api, &body)?;
                times.push(from.elapsed().as_secs_f64() * 1e3);
            }
            Ok(times)
        })
    };
    let clients: Vec<_> = (0..clients).map(client).collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.join().map_err(|_| io::Error::other("a client panicked"))??);
    }
    Ok((times.len() as f64 / began.elapsed().as_secs_f64(), Sorted::new(times)))
}

/// `POST /v1/route`.
pub(crate) fn http(_: &[usize]) -> io::Result<Figure> {
    let server = Server::start()?;
    let body: Arc<str> = object().into();
    requests(server.api, 4, None, &body)?;
    let rate = || requests(server.api, 16, None, &body).map(|(rate, _)| rate);
    let (mut before, mut tries) = (rate()?, 0);
    let (rate, times) = loop {
        let (_, times) = requests(server.api, 16, Some(before / 2.0), &body)?;
        let after = rate()?;
        tries += 1;
        if is_steady(before, after) || tries == STEADY_TRIES {
            break (before, times);
        }
        before = after;
    };
    let p99 = times.percentile(0.99);
    Ok(Figure {
        name: "POST /v1/route, 4 KB object, 20-line script",
        measured: format!("{rate:.0}/s, p99 {p99:.2} ms at half of that"),
        bar: "≥ 5,000/s, p99 < 5 ms",
        comparison: format!("bare QuickJS: parse, call, print: {:.0}/s", bare(SCRIPT, &body)?),
        met: rate >= 5_000.0 && p99 < 5.0,
    })
}

/// What a routing script adds between INVITE and answer.
pub(crate) fn dial(_: &[usize]) -> io::Result<Figure> {
    const CALLS: usize = 1_000;
    let answered = |number: &'static str| -> io::Result<Sorted> {
        let server = Server::start()?;
        let plan = Plan { number, calls: CALLS, rate: 100.0, hold: Duration::from_millis(200), speak: false, digit_after: None };
        let seen = Load::new(server.sip, CALLEE_PORT)?.run(&plan, Duration::ZERO, || ());
        eprintln!("  {number}: {} answered, {} failed", seen.answered, seen.failed);
        Ok(Sorted::new(seen.answer_ms))
    };
    let (without, with) = (answered("44123456")?, answered("44223456")?);
    let added = with.percentile(0.5) - without.percentile(0.5);
    Ok(Figure {
        name: "post-dial delay that a routing script adds, 100 calls/s",
        measured: format!("p50 {added:.2} ms ({} calls)", with.len()),
        bar: "p50 < 1 ms",
        comparison: format!("INVITE to answer through the same gateway without one: p50 {:.2} ms", without.percentile(0.5)),
        met: added < 1.0 && with.len() == CALLS && without.len() == CALLS,
    })
}
