//! Who comes first where threads share a core: media, then everybody else alike (decisions 0053, 0055, 0057 and 0058).

use std::collections::BTreeMap;
use std::fs;

use lockstep_engine::phone::Dial;
use lockstep_tests::caller::phone;
use lockstep_tests::engine::Engine;

/// Niceness of each thread of a process by its name, 0 below all others for those that go ahead in real time.
fn niceness(process: u32) -> BTreeMap<String, i64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let stats = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats.filter_map(|stat| nice_of(&stat)).collect()
}

/// `PID (NAME) STATE …`, where the niceness is the 17th and the policy the 39th field after the name (proc_pid_stat(5)).
fn nice_of(stat: &str) -> Option<(String, i64)> {
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let is_ordinary = fields.get(38)? == &"0";
    let nice = fields.get(16)?.parse().ok()?;
    Some((name.to_owned(), if is_ordinary { nice } else { i64::MIN }))
}

#[tokio::test]
async fn signalling_the_interface_and_scripts_have_one_priority_and_media_comes_first() {
    let engine = Engine::setup().main("100", "ctx.log('runs');\nawait ctx.waitForHangup();").start();
    let mut events = engine.events().await;
    let _call = phone("555").await.dial(&engine.uri("100"), Dial::default()).await.expect("the call is placed");
    events.logged("runs").await;
    let threads = niceness(engine.pid());
    let of = |name: &str| *threads.get(name).unwrap_or_else(|| panic!("no thread {name}: {threads:?}"));
    let workers: Vec<i64> = engine.workers().into_iter().flat_map(|pid| niceness(pid).into_values()).collect();
    assert!(!workers.is_empty(), "somebody runs the script");
    for nice in workers.into_iter().chain([of("lockstep"), of("runs"), of("jobs"), of("store")]) {
        assert_eq!(nice, of("core"), "{threads:?}");
    }
    assert!(of("media-0") < of("core") && of("core") < of("journals"), "{threads:?}");
    // Whoever started the engine has set its place among the machine's programs. It gives way to them only where media can have
    // none before all others.
    let ours = niceness(std::process::id()).into_values().max().expect("this thread");
    let goes_ahead = of("media-0") < ours;
    assert_eq!(of("core"), if goes_ahead { ours } else { ours.max(10) }, "{threads:?}");
}
