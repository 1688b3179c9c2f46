//! What the figures are compared with: other programs, and loops that do nothing but the system calls.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::net;
use crate::stats::Sorted;

/// sipp's own answering scenario on core 0; stopped when dropped.
pub(crate) struct SippUas(Child);

impl SippUas {
    pub(crate) fn start(port: u16) -> io::Result<(Self, SocketAddrV4)> {
        let mut command = Command::new("sipp");
        command
            .args(["-sn", "uas", "-i", "127.0.0.1", "-p", &port.to_string(), "-nostdin"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: sched_setaffinity is async-signal-safe and touches only the new process.
        unsafe {
            command.pre_exec(|| {
                net::pin(0);
                Ok(())
            });
        }
        let peer = Self(command.spawn()?);
        while !is_bound(port)? {
            std::thread::yield_now();
        }
        Ok((peer, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))
    }
}

/// Whether somebody listens on a UDP port of this machine.
fn is_bound(port: u16) -> io::Result<bool> {
    let table = std::fs::read_to_string("/proc/net/udp")?;
    Ok(table
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}")))))
}

impl Drop for SippUas {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Round trips of 64 bytes between two threads on core 0 over a socket pair, µs: the floor under an awaited operation.
pub(crate) fn socket_round_trips(count: usize) -> io::Result<Sorted> {
    let (mut near, mut far) = UnixStream::pair()?;
    let echo = std::thread::spawn(move || {
        net::pin(0);
        let mut buffer = [0; 64];
        while far.read_exact(&mut buffer).is_ok() && far.write_all(&buffer).is_ok() {}
    });
    let ping = std::thread::spawn(move || -> io::Result<Vec<f64>> {
        net::pin(0);
        let mut buffer = [0; 64];
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            near.write_all(&buffer)?;
            near.read_exact(&mut buffer)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    });
    let times = ping.join().map_err(|_| io::Error::other("the pinging thread panicked"))??;
    echo.join().map_err(|_| io::Error::other("the echoing thread panicked"))?;
    Ok(Sorted::new(times))
}

/// What QuickJS itself costs.
pub(crate) struct Bare {
    /// Creating a runtime and a context: median.
    pub(crate) create_us: f64,
    pub(crate) memory_bytes: i64,
}

/// Creates `samples` QuickJS runtimes that hold nothing but the language.
pub(crate) fn bare_runtime(samples: usize) -> io::Result<Bare> {
    let mut times = Vec::with_capacity(samples);
    let mut memory_bytes = 0;
    for _ in 0..samples {
        let began = Instant::now();
        let runtime = rquickjs::Runtime::new().map_err(io::Error::other)?;
        let context = rquickjs::Context::full(&runtime).map_err(io::Error::other)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        memory_bytes = runtime.memory_usage().malloc_size;
        drop(context);
    }
    Ok(Bare { create_us: Sorted::new(times).percentile(0.5), memory_bytes })
}
