//! `make bench`: the figures of the README, each beside a comparison measured in the same run.
//!
//! The server (engine, media thread, worker) is kept on core 0, the load on core 1. Run one figure with its name as argument,
//! a search with steps of your own as `setup=800,1000`.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time over real sockets")]
#![expect(clippy::print_stdout, reason = "printing figures is what it is for")]

mod class4;
mod event_socket;
mod figures;
mod load;
mod net;
mod peer;
mod server;
mod sip_text;
mod stats;
mod stored;

use figures::{FIGURES, Measure};
use lockstep_engine::allocator::Mimalloc;

/// What is measured in this process has the allocator that it has in `lockstep`.
#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

fn main() -> std::io::Result<()> {
    net::pin(1);
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut results = Vec::new();
    for (name, measure) in FIGURES {
        let asked = wanted.iter().find_map(|word| {
            let (figure, steps) = word.split_once('=').unwrap_or((word, ""));
            (figure == *name).then(|| steps.split(',').filter_map(|step| step.parse().ok()).collect::<Vec<usize>>())
        });
        if let Some(steps) = asked.or_else(|| wanted.is_empty().then(Vec::new)) {
            eprintln!("measuring: {name}");
            let measure: Measure = *measure;
            results.push(measure(&steps)?);
        }
    }
    println!("{}", stats::table(&results));
    Ok(())
}
