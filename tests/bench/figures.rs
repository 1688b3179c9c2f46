//! The figures, one function each.

use std::cell::Cell;
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::load::{Load, Plan, Seen};
use crate::peer::{SippUas, bare_runtime, socket_round_trips};
use crate::server::{CALLEE_PORT, Server};
use crate::stats::{Figure, Sorted};
use crate::stored;

/// Measures a figure; a search tries the steps given, or its own when there are none.
pub(crate) type Measure = fn(&[usize]) -> io::Result<Figure>;

/// Every figure by the name that runs it alone.
pub(crate) const FIGURES: &[(&str, Measure)] = &[
    ("setup", setup),
    ("playback", playback),
    ("bridge", bridge),
    ("digit", digit),
    ("noop", noop),
    ("event_socket_calls", crate::event_socket::calls),
    ("event_socket_operation", crate::event_socket::operation),
    ("event_socket_events", crate::event_socket::events),
    ("runtime", runtime),
    ("memory", memory),
    ("class4_worker", crate::class4::worker),
    ("class4_tiny", crate::class4::tiny),
    ("class4_engine", crate::class4::engine),
    ("class4_http", crate::class4::http),
    ("class4_dial", crate::class4::dial),
    ("incr", stored::incr),
    ("jobs", stored::jobs),
    ("simulation", simulation),
];

/// A gap that a listener would hear: the next packet came more than one packet too late.
const GAP_MS: f64 = 40.0;

/// The highest of `steps` that `attempt` passes; the first failure ends the search.
fn highest(steps: &[usize], mut attempt: impl FnMut(usize) -> io::Result<bool>) -> io::Result<usize> {
    let mut best = 0;
    for &step in steps {
        if !attempt(step)? {
            break;
        }
        best = step;
    }
    Ok(best)
}

fn or<'a>(given: &'a [usize], usual: &'a [usize]) -> &'a [usize] {
    if given.is_empty() { usual } else { given }
}

fn clean(seen: &Seen, calls: usize) -> bool {
    seen.finished == calls && seen.failed == 0 && seen.retransmissions == 0
}

fn setup(steps: &[usize]) -> io::Result<Figure> {
    const STEPS: [usize; 11] = [400, 600, 800, 1_000, 1_250, 1_500, 1_750, 2_000, 2_500, 3_000, 5_000];
    /// Timer T1 of RFC 3261: an answer that takes longer is one that a caller without provisional responses asks for again.
    const SLOWEST_ANSWER_MS: f64 = 500.0;
    let call = |server: SocketAddrV4, number, rate: usize, seconds: usize| {
        let (calls, hold) = (rate * seconds, Duration::from_millis(40));
        let plan = Plan { number, calls, rate: rate as f64, hold, speak: false, digit_after: None };
        Ok::<_, io::Error>(Load::new(server, 0)?.run(&plan, Duration::ZERO, || ()))
    };
    let at = |server: SocketAddrV4, number, rate: usize| {
        let seen = call(server, number, rate, 4)?;
        let passed = clean(&seen, rate * 4);
        let answers = Sorted::new(seen.answer_ms);
        let (p50, p99) = (answers.percentile(0.5), answers.percentile(0.99));
        eprintln!(
            "  {rate}/s: {} finished, {} failed, {} retransmissions, answered after p50 {p50:.1} ms, p99 {p99:.1} ms",
            seen.finished, seen.failed, seen.retransmissions
        );
        Ok(passed && p99 < SLOWEST_ANSWER_MS)
    };
    let mut cpu_us = 0.0;
    let best = highest(or(steps, &STEPS), |rate| {
        let server = Server::start()?;
        // The first second is for caches and memory that an engine which has been up for a while has.
        call(server.sip, "7000", rate, 1)?;
        let before = server.cpu();
        let passed = at(server.sip, "7000", rate)?;
        let after = server.cpu();
        eprintln!("    µs of CPU a call, user + kernel: {}", after.each_since(&before, rate * 4));
        if passed {
            cpu_us = (after.total() - before.total()) * 1e6 / (rate * 4) as f64;
        }
        Ok(passed)
    })?;
    let peer = {
        let (_sipp, address) = SippUas::start(17_090)?;
        highest(or(steps, &STEPS), |rate| at(address, "7000", rate))?
    };
    Ok(Figure {
        name: "answer + BYE, each call running its script",
        measured: format!("{best} calls/s, {cpu_us:.0} µs of CPU a call"),
        bar: "≥ 1,500 calls/s",
        comparison: format!("sipp's answering scenario, no script, no media: {peer} calls/s"),
        met: best >= 1_500,
    })
}

/// Whether `streams` calls of `number` are heard without gaps.
fn gapless(number: &'static str, calls: usize) -> io::Result<bool> {
    let server = Server::start()?;
    let arrivals = Duration::from_secs_f64(calls as f64 / 250.0);
    let plan = Plan { number, calls, rate: 250.0, hold: arrivals + Duration::from_secs(8), speak: true, digit_after: None };
    let seen = Load::new(server.sip, CALLEE_PORT)?.run(&plan, arrivals + Duration::from_secs(1), || ());
    let gaps = Sorted::new(seen.gaps_ms);
    let p99 = gaps.percentile(0.99);
    let cpu = server.cpu().total() * 1e6 / seen.rtp_packets.max(1) as f64;
    eprintln!(
        "  {calls} calls: {} answered, {} failed, gap p99 {p99:.1} ms of {}, {cpu:.1} µs of CPU a packet",
        seen.answered,
        seen.failed,
        gaps.len()
    );
    Ok(seen.answered == calls && seen.failed == 0 && p99 < GAP_MS)
}

fn playback(steps: &[usize]) -> io::Result<Figure> {
    let best = highest(or(steps, &[1_000, 2_000, 2_500, 3_000, 3_500, 4_000, 5_000]), |calls| gapless("7001", calls))?;
    Ok(Figure {
        name: "IVR playback, p99 packet gap < 40 ms",
        measured: format!("{best} calls"),
        bar: "≥ 2,500 calls",
        comparison: format!("bare two-way loop, no calls: {} legs", lockstep_tests::bench::bare_loop::describe()),
        met: best >= 2_500,
    })
}

fn bridge(steps: &[usize]) -> io::Result<Figure> {
    let best = highest(or(steps, &[500, 1_000, 1_200, 1_500, 2_000]), |calls| gapless("7002", calls))?;
    Ok(Figure {
        name: "two-way bridge, p99 packet gap < 40 ms",
        measured: format!("{best} bridges"),
        bar: "≥ 1,200 bridges",
        comparison: format!("bare two-way loop, no calls: {} legs", lockstep_tests::bench::bare_loop::describe()),
        met: best >= 1_200,
    })
}

fn digit(_: &[usize]) -> io::Result<Figure> {
    let server = Server::start()?;
    let plan = Plan {
        number: "7003",
        calls: 2_000,
        rate: 100.0,
        hold: Duration::from_secs(3),
        speak: true,
        digit_after: Some(Duration::from_millis(1_200)),
    };
    let seen = Load::new(server.sip, 0)?.run(&plan, Duration::from_secs(1), || ());
    let times = Sorted::new(seen.digit_ms);
    eprintln!("  {} answered, {} failed, {} heard the next prompt", seen.answered, seen.failed, times.len());
    let (p50, p99) = (times.percentile(0.5), times.percentile(0.99));
    eprintln!(
        "  ms: p90 {:.2}, p98 {:.2}, p99.9 {:.2}, max {:.2}",
        times.percentile(0.9),
        times.percentile(0.98),
        times.percentile(0.999),
        times.percentile(1.0)
    );
    let floor = socket_round_trips(20_000)?;
    Ok(Figure {
        name: "last digit's first end packet → next prompt's first packet, 100 calls/s",
        measured: format!("p50 {p50:.2} ms, p99 {p99:.2} ms ({} of {} calls)", times.len(), plan.calls),
        bar: "p99 < 5 ms",
        comparison: format!("two socket-pair round trips: p99 {:.3} ms", 2.0 * floor.percentile(0.99) / 1e3),
        met: p99 < 5.0 && times.len() == plan.calls,
    })
}

fn noop(_: &[usize]) -> io::Result<Figure> {
    const OPERATIONS: f64 = 5_000.0;
    let server = Server::start()?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let plan =
            Plan { number: "7004", calls: 1, rate: 1_000.0, hold: Duration::from_secs(20), speak: false, digit_after: None };
        let seen = Load::new(server.sip, 0)?.run(&plan, Duration::ZERO, || ());
        times.extend(seen.lived_ms.iter().map(|ms| ms * 1e3 / OPERATIONS));
    }
    let times = Sorted::new(times);
    let p50 = times.percentile(0.5);
    let floor = socket_round_trips(50_000)?;
    Ok(Figure {
        name: "awaited operation that does nothing, engine and worker on one core",
        measured: format!("p50 {p50:.1} µs (means of 5,000, {} calls)", times.len()),
        bar: "p50 < 60 µs",
        comparison: format!("bare socket-pair round trip: p50 {:.1} µs", floor.percentile(0.5)),
        met: p50 < 60.0,
    })
}

fn runtime(_: &[usize]) -> io::Result<Figure> {
    let cost = lockstep_ctx_api::js::fixed_cost(500).map_err(io::Error::other)?;
    let ours = cost.create.as_secs_f64() * 1e6;
    let bare = bare_runtime(500)?;
    Ok(Figure {
        name: "fixed cost of a call's JavaScript runtime before its first line",
        measured: format!("{ours:.0} µs, {} KiB", cost.memory_bytes / 1024),
        bar: "< 250 µs",
        comparison: format!(
            "bare QuickJS runtime with all intrinsics: {:.0} µs, {} KiB",
            bare.create_us,
            bare.memory_bytes / 1024
        ),
        met: ours < 250.0,
    })
}

/// What one of `calls` that wait holds, KiB of the engine and of its worker, half of `hold` after the last one has come, in an engine that
/// has had a call before; and how many were answered.
fn held(calls: usize, rate: f64, hold: Duration) -> io::Result<(f64, f64, usize)> {
    let server = Server::start()?;
    let plan = |calls, rate, hold| Plan { number: "7005", calls, rate, hold, speak: false, digit_after: None };
    // What all calls share comes with the first.
    Load::new(server.sip, 0)?.run(&plan(1, 1.0, Duration::from_millis(200)), Duration::ZERO, || ());
    let before = server.memory();
    let during = Cell::new((0, 0));
    let plan = plan(calls, rate, hold);
    let seen = Load::new(server.sip, 0)?.run(&plan, Duration::ZERO, || during.set(server.memory()));
    let kib = |during: u64, before: u64| during.saturating_sub(before) as f64 / calls as f64 / 1024.0;
    Ok((kib(during.get().0, before.0), kib(during.get().1, before.1), seen.answered))
}

fn memory(_: &[usize]) -> io::Result<Figure> {
    const CALLS: usize = 2_000;
    // These are looked at before the first one's script has waited for the five seconds after which it is put to rest.
    let (new_engine, new_worker, _) = held(600, 300.0, Duration::from_secs(5))?;
    let (engine, worker, answered) = held(CALLS, 200.0, Duration::from_secs(24))?;
    let each = engine + worker;
    Ok(Figure {
        name: "memory per live call, script included, once it has waited for six seconds",
        measured: format!(
            "{each:.0} KiB ({engine:.0} engine, {worker:.0} worker; {answered} calls); before that {:.0} KiB ({new_engine:.0}, \
             {new_worker:.0})",
            new_engine + new_worker
        ),
        bar: "< 300 KiB",
        comparison: format!("bare QuickJS runtime with all intrinsics: {} KiB", bare_runtime(10)?.memory_bytes / 1024),
        met: each < 300.0 && answered == CALLS,
    })
}

fn simulation(steps: &[usize]) -> io::Result<Figure> {
    let calls = steps.first().copied().unwrap_or(1_000);
    let started = std::time::Instant::now();
    let simulated = lockstep_engine::simulation::simulate_calls(calls as u64).map_err(io::Error::other)?;
    let took = started.elapsed().as_secs_f64();
    let rate = calls as f64 / took;
    Ok(Figure {
        name: "30-second IVR calls simulated, media included",
        measured: format!("{rate:.0} calls/s on one core"),
        bar: "≥ 300 calls/s",
        comparison: format!("the same calls in real time: {:.0} s for the {took:.1} s taken", simulated.as_secs_f64()),
        met: rate >= 300.0,
    })
}
