//! The transports over real loopback sockets.
#![cfg(feature = "transport")]
#![expect(clippy::disallowed_methods, reason = "the peers of the transports under test are plain sockets")]

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lockstep_sip::{
    net::{Destination, FlowId, Protocol, Source, Transmit, TransmitId},
    transport::{Listen, SendError, TcpConfig, TransportConfig, TransportEvent, Transports},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n";
const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

#[derive(Debug, PartialEq)]
enum Seen {
    Message(Source, Vec<u8>),
    Closed(FlowId),
    Failed(TransmitId),
}

fn bind(listen: &[&str], config: TransportConfig) -> Transports {
    let listen: Vec<Listen> = listen.iter().map(|text| text.parse().unwrap()).collect();
    Transports::bind(&listen, config).unwrap()
}

fn tcp(change: impl FnOnce(&mut TcpConfig)) -> Transports {
    let mut config = TransportConfig::default();
    change(&mut config.tcp);
    bind(&["tcp:127.0.0.1:0"], config)
}

fn address(transports: &Transports) -> SocketAddr {
    transports.listening()[0].address
}

async fn receive(transports: &mut Transports) -> Vec<Seen> {
    let mut seen = Vec::new();
    let more = transports.receive(|event| {
        seen.push(match event {
            TransportEvent::Received(received) => Seen::Message(received.source, received.bytes.to_vec()),
            TransportEvent::FlowClosed(flow) => Seen::Closed(flow),
            TransportEvent::SendFailed(id) => Seen::Failed(id),
        });
    });
    timeout(PATIENCE, more).await.expect("nothing arrived");
    seen
}

/// Waits past wake-ups that hand over nothing, such as keep-alives.
async fn receive_one(transports: &mut Transports) -> Seen {
    loop {
        let mut seen = receive(transports).await;
        assert!(seen.len() <= 1, "{seen:?}");
        if let Some(one) = seen.pop() {
            return one;
        }
    }
}

async fn receive_message(transports: &mut Transports) -> (Source, Vec<u8>) {
    match receive_one(transports).await {
        Seen::Message(source, bytes) => (source, bytes),
        other => panic!("expected a message, got {other:?}"),
    }
}

fn transmit(id: u64, destination: Destination, bytes: &'static [u8]) -> Transmit {
    Transmit { id: TransmitId(id), destination, bytes: Bytes::from_static(bytes) }
}

async fn read_exactly(stream: &mut TcpStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.expect("nothing to read").unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(want));
}

#[tokio::test]
async fn a_wildcard_udp_socket_answers_from_the_address_that_was_asked() {
    let mut transports = bind(&["udp:0.0.0.0:0"], TransportConfig::default());
    let port = address(&transports).port();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    for ip in ["127.0.0.1", "127.0.0.3"] {
        let asked: SocketAddr = format!("{ip}:{port}").parse().unwrap();
        peer.send_to(REQUEST, asked).unwrap();
        let (source, bytes) = receive_message(&mut transports).await;
        assert_eq!(bytes, REQUEST);
        assert_eq!((source.local, source.remote, source.flow), (asked, peer.local_addr().unwrap(), None));
        transports.send(transmit(1, source.reply_path(), ANSWER)).unwrap();
        let mut buffer = [0; 2000];
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (ANSWER, asked));
    }
}

#[tokio::test]
async fn ipv6_works_beside_ipv4_on_the_same_port() {
    let mut transports = bind(&["udp:[::]:0"], TransportConfig::default());
    let port = address(&transports).port();
    let v4: Listen = format!("udp:0.0.0.0:{port}").parse().unwrap();
    let _second = Transports::bind(&[v4], TransportConfig::default()).unwrap();
    let peer = UdpSocket::bind("[::1]:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.send_to(REQUEST, ("::1", port)).unwrap();
    let (source, _) = receive_message(&mut transports).await;
    assert_eq!(source.local, format!("[::1]:{port}").parse().unwrap());
    assert_eq!(transports.local_for(Protocol::Udp, source.remote), Some(source.local));
    transports.send(transmit(1, source.reply_path(), ANSWER)).unwrap();
    let mut buffer = [0; 2000];
    let (len, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from), (ANSWER, source.local));
}

#[tokio::test]
async fn a_burst_of_datagrams_costs_few_wake_ups_and_keep_alives_are_silent() {
    let mut transports = bind(&["udp:127.0.0.1:0"], TransportConfig::default());
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    for keep_alive in [&b"\r\n\r\n"[..], b"\r\n", b"\0\0\0\0", b""] {
        peer.send_to(keep_alive, address(&transports)).unwrap();
    }
    for n in 0..100 {
        peer.send_to(format!("message {n}").as_bytes(), address(&transports)).unwrap();
    }
    let (mut messages, mut wakes) = (Vec::new(), 0);
    while messages.len() < 100 {
        messages.extend(receive(&mut transports).await);
        wakes += 1;
    }
    for (n, seen) in messages.iter().enumerate() {
        let Seen::Message(_, bytes) = seen else { panic!("{seen:?}") };
        assert_eq!(bytes, format!("message {n}").as_bytes());
    }
    assert!(wakes <= 4, "{wakes} wake-ups for 104 datagrams");
    let stats = transports.stats().udp;
    assert_eq!((stats.received, stats.keep_alives), (104, 4));
}

#[tokio::test]
async fn what_udp_cannot_send_is_an_error_at_once() {
    let mut transports = bind(&["udp:127.0.0.1:0"], TransportConfig::default());
    let destination = Destination::new(Protocol::Udp, address(&transports));
    let huge = Transmit { id: TransmitId(1), destination, bytes: Bytes::from(vec![b'x'; 70_000]) };
    assert!(matches!(transports.send(huge), Err(SendError::Io(_))));
    let other_family = Destination::new(Protocol::Udp, "[::1]:5060".parse().unwrap());
    let error = transports.send(transmit(2, other_family, REQUEST)).unwrap_err();
    assert!(matches!(error, SendError::NoSocket { protocol: Protocol::Udp }), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_told_at_once_and_harms_nobody_else() {
    let mut transports = bind(&["udp:127.0.0.1:0"], TransportConfig::default());
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let closed = {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let live = Destination::new(Protocol::Udp, peer.local_addr().unwrap());
    transports.send(transmit(1, live, REQUEST)).unwrap();
    transports.send(transmit(2, Destination::new(Protocol::Udp, closed), REQUEST)).unwrap();
    transports.send(transmit(3, live, REQUEST)).unwrap();
    assert_eq!(receive_one(&mut transports).await, Seen::Failed(TransmitId(2)));
    let mut buffer = [0; 2000];
    for _ in 0..2 {
        assert_eq!(peer.recv(&mut buffer).unwrap(), REQUEST.len());
    }
    peer.send_to(ANSWER, address(&transports)).unwrap();
    assert_eq!(receive_message(&mut transports).await.1, ANSWER);
    assert_eq!(transports.stats().udp.unreachable, 1);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = bind(&["udp:127.0.0.1:0"], TransportConfig::default());
    let again = first.listening();
    let Err(error) = Transports::bind(&again, TransportConfig::default()) else { panic!("bound twice") };
    assert!(error.to_string().contains(&again[0].to_string()), "{error}");
}

#[tokio::test]
async fn answers_go_back_over_the_connection_and_pings_get_pongs() {
    let mut transports = tcp(|_| {});
    let mut peer = TcpStream::connect(address(&transports)).await.unwrap();
    peer.write_all(b"\r\n\r\n").await.unwrap();
    peer.write_all(REQUEST).await.unwrap();
    let (source, bytes) = receive_message(&mut transports).await;
    assert_eq!(bytes, REQUEST);
    assert_eq!(source.local, address(&transports));
    read_exactly(&mut peer, b"\r\n").await;
    transports.send(transmit(1, source.reply_path(), ANSWER)).unwrap();
    read_exactly(&mut peer, ANSWER).await;
    drop(peer);
    assert_eq!(receive_one(&mut transports).await, Seen::Closed(source.flow.unwrap()));
    assert_eq!(transports.stats().connections, 0);
}

#[tokio::test]
async fn requests_to_one_address_share_a_connection_until_it_closes() {
    let mut transports = tcp(|_| {});
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = Destination::new(Protocol::Tcp, proxy.local_addr().unwrap());
    let over = transports.send(transmit(1, destination, REQUEST)).unwrap();
    assert_eq!(transports.send(transmit(2, destination, REQUEST)).unwrap(), over);
    let (mut stream, _) = proxy.accept().await.unwrap();
    read_exactly(&mut stream, &[REQUEST, REQUEST].concat()).await;
    stream.write_all(ANSWER).await.unwrap();
    let (source, _) = receive_message(&mut transports).await;
    assert_eq!(source.flow, over);
    assert_eq!(source.local, address(&transports), "the port peers can reach, not the connection's own");
    assert_eq!(transports.stats().tcp.connected_out, 1);

    drop(stream);
    assert_eq!(receive_one(&mut transports).await, Seen::Closed(source.flow.unwrap()));
    transports.send(transmit(3, source.reply_path(), ANSWER)).unwrap();
    let (mut stream, _) = proxy.accept().await.unwrap();
    read_exactly(&mut stream, ANSWER).await;
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_fails_every_message_waiting_for_it() {
    let mut transports = tcp(|_| {});
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let destination = Destination::new(Protocol::Tcp, nobody);
    transports.send(transmit(1, destination, REQUEST)).unwrap();
    transports.send(transmit(2, destination, REQUEST)).unwrap();
    let seen = receive(&mut transports).await;
    assert_eq!(seen[..2], [Seen::Failed(TransmitId(1)), Seen::Failed(TransmitId(2))]);
    assert!(matches!(seen[2..], [Seen::Closed(_)]), "{seen:?}");
}

/// One peer sends without ever reading; another one's answers must not notice.
#[tokio::test]
async fn a_peer_that_does_not_read_slows_nobody_and_is_cut_off() {
    let mut transports = tcp(|config| {
        config.write_timeout = Duration::from_secs(2);
        config.max_queued_bytes = 256 * 1024;
    });
    let server = address(&transports);
    let big_answer: &'static [u8] = Box::leak([ANSWER, &[b'x'; 30_000]].concat().into_boxed_slice());

    let mut deaf = TcpStream::connect(server).await.unwrap();
    let deaf_address = deaf.local_addr().unwrap();
    let deaf = tokio::spawn(async move {
        while deaf.write_all(REQUEST).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let answered = Arc::new(AtomicUsize::new(0));
    let answers = Arc::clone(&answered);
    let polite = tokio::spawn(async move {
        let mut stream = TcpStream::connect(server).await.unwrap();
        loop {
            stream.write_all(REQUEST).await.unwrap();
            read_exactly(&mut stream, ANSWER).await;
            answers.fetch_add(1, Ordering::Relaxed);
        }
    });

    let mut deaf_flow = None;
    let mut cut_off = false;
    // Answers of the polite one until there was no more room for those of the deaf one.
    let mut before = None;
    while !cut_off {
        for event in receive(&mut transports).await {
            match event {
                Seen::Message(source, _) if source.remote == deaf_address => {
                    deaf_flow = source.flow;
                    // A full queue is this peer's loss alone.
                    let _ = transports.send(transmit(1, source.reply_path(), big_answer));
                }
                Seen::Message(source, _) => {
                    transports.send(transmit(2, source.reply_path(), ANSWER)).unwrap();
                }
                Seen::Closed(flow) => cut_off |= Some(flow) == deaf_flow,
                Seen::Failed(id) => assert_eq!(id, TransmitId(1)),
            }
        }
        if transports.stats().tcp.queue_full > 0 {
            before.get_or_insert_with(|| answered.load(Ordering::Relaxed));
        }
    }
    polite.abort();
    // Whoever waited for the deaf one had one answer until that was cut off.
    let meanwhile = answered.load(Ordering::Relaxed) - before.expect("its queue was full");
    assert!(meanwhile >= 5, "{meanwhile} answers");
    let stats = transports.stats().tcp;
    assert!(stats.queue_full > 0, "{stats:?}");
    assert_eq!(stats.write_timeouts, 1);
    timeout(PATIENCE, deaf).await.expect("the deaf peer was not cut off").unwrap();
}

#[tokio::test]
async fn connections_past_the_limit_of_an_address_are_refused() {
    let mut transports = tcp(|config| config.max_connections_per_ip = 2);
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(TcpStream::connect(address(&transports)).await.unwrap());
    }
    peers[0].write_all(REQUEST).await.unwrap();
    receive_message(&mut transports).await;
    let refused = async {
        while transports.stats().tcp.refused == 0 {
            let _ = timeout(Duration::from_millis(10), receive(&mut transports)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("no connection was refused");
    let mut byte = [0];
    assert_eq!(timeout(PATIENCE, peers[2].read(&mut byte)).await.expect("still open").unwrap_or(0), 0);
    assert_eq!(transports.stats().connections, 2);

    drop(peers.remove(1));
    assert!(matches!(receive_one(&mut transports).await, Seen::Closed(_)));
    peers.push(TcpStream::connect(address(&transports)).await.unwrap());
    peers[2].write_all(REQUEST).await.unwrap();
    receive_message(&mut transports).await;
}

#[tokio::test]
async fn a_message_that_never_ends_and_a_silent_peer_are_closed() {
    let mut transports = tcp(|config| config.message_timeout = Duration::from_millis(100));
    let _silent = TcpStream::connect(address(&transports)).await.unwrap();
    let mut slow = TcpStream::connect(address(&transports)).await.unwrap();
    slow.write_all(&REQUEST[..20]).await.unwrap();
    let mut closed = 0;
    while closed < 2 {
        closed += receive(&mut transports).await.iter().filter(|seen| matches!(seen, Seen::Closed(_))).count();
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_what_we_send_counts_as_traffic() {
    const IDLE: Duration = Duration::from_secs(1);
    let mut transports = tcp(|config| {
        config.idle_timeout = IDLE;
        config.stranger_timeout = IDLE;
    });
    let mut peer = TcpStream::connect(address(&transports)).await.unwrap();
    let started = Instant::now();
    peer.write_all(REQUEST).await.unwrap();
    let (source, _) = receive_message(&mut transports).await;
    transports.keep_flow(source.flow.unwrap());
    transports.send(transmit(1, source.reply_path(), ANSWER)).unwrap();
    assert_eq!(receive_one(&mut transports).await, Seen::Closed(source.flow.unwrap()));
    assert!(started.elapsed() >= 2 * IDLE, "closed after {:?}", started.elapsed());
}

#[tokio::test]
async fn a_stranger_may_not_rest_whatever_it_pings() {
    let mut transports = tcp(|config| {
        config.message_timeout = Duration::from_millis(100);
        config.stranger_timeout = Duration::from_millis(100);
    });
    for first in [&b""[..], REQUEST] {
        let mut peer = TcpStream::connect(address(&transports)).await.unwrap();
        peer.write_all(first).await.unwrap();
        let closed = async {
            loop {
                peer.write_all(b"\r\n\r\n").await.ok();
                let seen = timeout(Duration::from_millis(20), receive(&mut transports)).await.unwrap_or_default();
                if seen.iter().any(|seen| matches!(seen, Seen::Closed(_))) {
                    return;
                }
            }
        };
        timeout(PATIENCE, closed).await.expect("still open");
    }
}

#[tokio::test]
async fn when_all_places_are_taken_the_quietest_stranger_gives_way() {
    let mut transports = tcp(|config| config.max_connections = 3);
    let mut flows = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = TcpStream::connect(address(&transports)).await.unwrap();
        peer.write_all(REQUEST).await.unwrap();
        flows.push(receive_message(&mut transports).await.0.flow.unwrap());
        peers.push(peer);
    }
    transports.keep_flow(flows[0]);
    // The second has said something after the third.
    peers[1].write_all(REQUEST).await.unwrap();
    receive_message(&mut transports).await;
    let _newcomer = TcpStream::connect(address(&transports)).await.unwrap();
    assert_eq!(receive_one(&mut transports).await, Seen::Closed(flows[2]));
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = Destination::new(Protocol::Tcp, proxy.local_addr().unwrap());
    transports.send(transmit(1, destination, REQUEST)).unwrap();
    assert_eq!(receive_one(&mut transports).await, Seen::Closed(flows[1]));
    let stats = transports.stats();
    assert_eq!((stats.tcp.gave_way, stats.tcp.refused, stats.connections), (2, 0, 3));
}

#[tokio::test]
async fn an_unreadable_length_can_be_answered_before_the_close() {
    let mut transports = tcp(|_| {});
    let mut peer = TcpStream::connect(address(&transports)).await.unwrap();
    let broken = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -5\r\n\r\n";
    peer.write_all(broken).await.unwrap();
    let (source, bytes) = receive_message(&mut transports).await;
    assert_eq!(bytes, broken);
    transports.send(transmit(1, source.reply_path(), ANSWER)).unwrap();
    read_exactly(&mut peer, ANSWER).await;
    let mut rest = Vec::new();
    timeout(PATIENCE, peer.read_to_end(&mut rest)).await.expect("still open").unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_connection_that_gives_way_writes_what_is_queued_first() {
    let mut transports = tcp(|config| config.max_connections = 1);
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(address(&transports)).await.unwrap();
    peer.write_all(REQUEST).await.unwrap();
    let (source, _) = receive_message(&mut transports).await;
    transports.send(transmit(1, source.reply_path(), ANSWER)).unwrap();
    transports.send(transmit(2, Destination::new(Protocol::Tcp, proxy.local_addr().unwrap()), REQUEST)).unwrap();
    read_exactly(&mut peer, ANSWER).await;
    assert_eq!(receive_one(&mut transports).await, Seen::Closed(source.flow.unwrap()));
}
