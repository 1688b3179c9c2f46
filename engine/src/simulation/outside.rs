//! A running engine and sockets of this machine, in place of the simulated engine and network: what the phones of
//! `lockstep test --realtime` dial.
#![expect(
    clippy::disallowed_methods,
    reason = "the phones of a test against a running engine live on the machine's clock and sockets"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::network::Packet;
use super::phones::{Places, rtcp_of};
use super::project::Project;
use crate::block_on::block_on;
use crate::config::{Listen, Loaded, Protocol};
use crate::core::{Engine, EngineHandle};

/// Packets that have arrived and were not looked at yet.
const MAX_WAITING: usize = 4_096;
/// How often a reader looks whether its socket is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// Pairs of ports tried for one call.
const MAX_TRIES: usize = 200;

/// See the module.
pub(crate) struct Outside {
    engine: Option<Engine>,
    handle: EngineHandle,
    address: SocketAddr,
    sockets: Rc<RefCell<Sockets>>,
    arrivals: Receiver<Packet>,
}

impl Outside {
    /// Starts an engine for the scripts of a project on ports of its own, with stores that hold nothing yet.
    ///
    /// Gateways and event sockets are left out: a test calls nobody but its own phones.
    ///
    /// # Errors
    /// Why it does not start.
    pub(crate) fn start(project: &Project) -> Result<Self, String> {
        let mut config = project.config.as_ref().clone();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.sip.listen = vec![Listen { protocol: Protocol::Udp, addr: loopback }];
        config.scripts.dir.clone_from(&project.scripts_dir);
        config.scripts.workers = 1;
        config.media.threads = 1;
        config.store.path = PathBuf::from(":memory:");
        config.event_socket.freeswitch_outbound = None;
        config.event_socket.listen = None;
        config.freeswitches.clear();
        config.gateways.clear();
        config.script_entries.iter_mut().for_each(|entry| entry.schedule = None);
        let dir = std::env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
        let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let loaded = Loaded { config, dir, warnings: Vec::new(), named_scripts: Vec::new(), places: Default::default() };
        let engine = Engine::start(loaded, program).map_err(|error| error.to_string())?;
        let handle = engine.handle.clone();
        let address = handle.sip_udp_address().ok_or("the engine does not listen on UDP")?;
        let (send, arrivals) = sync_channel(MAX_WAITING);
        let sockets = Rc::new(RefCell::new(Sockets { open: BTreeMap::new(), send }));
        Ok(Self { engine: Some(engine), handle, address, sockets, arrivals })
    }

    /// Where the engine takes SIP.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn handle(&self) -> &EngineHandle {
        &self.handle
    }

    /// Sockets for phones.
    pub(super) fn places(&self) -> Box<dyn Places> {
        Box::new(SocketPlaces(Rc::clone(&self.sockets)))
    }

    /// The machine's time.
    pub(super) fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits until `until`, or until packets have arrived.
    pub(super) fn wait(&self, until: Instant) -> Vec<Packet> {
        let left = until.saturating_duration_since(Instant::now());
        let first = self.arrivals.recv_timeout(left).ok();
        first.into_iter().chain(self.arrivals.try_iter().take(MAX_WAITING)).collect()
    }

    /// Sends a phone's packet. One that cannot be sent is lost, as packets are.
    pub(super) fn send(&self, packet: &Packet) {
        if let Some(open) = self.sockets.borrow().open.get(&packet.from) {
            let _ = open.socket.send_to(&packet.bytes, packet.to);
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The phones go with it: nobody is left who could take leave of a call. One that is gone already need not be told.
        let _ = block_on(self.handle.halt());
        if let Some(engine) = self.engine.take() {
            engine.wait();
        }
        self.sockets.borrow_mut().open.clear();
    }
}

/// The sockets of all phones.
struct Sockets {
    open: BTreeMap<SocketAddr, Open>,
    send: SyncSender<Packet>,
}

struct Open {
    socket: Arc<UdpSocket>,
    is_closed: Arc<AtomicBool>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.is_closed.store(true, Relaxed);
    }
}

impl Sockets {
    fn open(&mut self, socket: UdpSocket) -> io::Result<SocketAddr> {
        let address = socket.local_addr()?;
        socket.set_read_timeout(Some(LOOK))?;
        let (socket, is_closed) = (Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let (reader, closed, send) = (Arc::clone(&socket), Arc::clone(&is_closed), self.send.clone());
        std::thread::Builder::new().name("phone".to_owned()).spawn(move || read(&reader, address, &closed, &send))?;
        self.open.insert(address, Open { socket, is_closed });
        Ok(address)
    }
}

fn read(socket: &UdpSocket, to: SocketAddr, is_closed: &AtomicBool, send: &SyncSender<Packet>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    while !is_closed.load(Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let bytes = buffer.get(..length).unwrap_or_default().into();
                if send.send(Packet { from, to, bytes }).is_err() {
                    return;
                }
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {}
            // As ICMP says it of somebody who has gone; the next packet may reach somebody.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

struct SocketPlaces(Rc<RefCell<Sockets>>);

impl Places for SocketPlaces {
    fn phone(&mut self) -> Result<SocketAddr, String> {
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| self.0.borrow_mut().open(socket));
        bound.map_err(|error| format!("no socket for a phone: {error}"))
    }

    fn media(&mut self, _: SocketAddr) -> Result<SocketAddr, String> {
        let failed = |error: io::Error| format!("no ports for a call: {error}");
        for _ in 0..MAX_TRIES {
            let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            let address = rtp.local_addr().map_err(failed)?;
            if address.port() % 2 != 0 {
                continue;
            }
            // RTP on the even port, RTCP on the next one (RFC 3550, section 11).
            let Ok(rtcp) = UdpSocket::bind(rtcp_of(address)) else { continue };
            let mut sockets = self.0.borrow_mut();
            sockets.open(rtp).and_then(|rtp| sockets.open(rtcp).map(|_| rtp)).map_err(failed)?;
            return Ok(address);
        }
        Err("no two free ports beside each other".to_owned())
    }

    fn close(&mut self, rtp: SocketAddr) {
        let mut sockets = self.0.borrow_mut();
        sockets.open.remove(&rtp);
        sockets.open.remove(&rtcp_of(rtp));
    }
}
