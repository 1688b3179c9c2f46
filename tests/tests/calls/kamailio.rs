//! A real Kamailio with the example configuration of docs/examples, in front of the engine's routing hook.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use lockstep_engine::phone::{Dial, EndedBy, Phone};
use lockstep_sip::net::Protocol;
use lockstep_tests::caller::{incoming, phone};
use lockstep_tests::engine::{Engine, within};
use lockstep_tests::sipp::free_port;

const SCRIPT: &str = "function main(data) {
  const { routing } = data;
  if (routing.dest_number.endsWith('604')) throw '604 Number on DNC List';
  if (routing.dest_number.endsWith('603')) throw '603 Not\\r\\nX-Forged: 1';
  if (routing.dest_number.endsWith('999')) {
    routing.cli = '1\"x>';
    routing.dest_number = '45\\r\\nX-Forged: 1';
    data.egress_routing = [{ gw: { 8: {}, 7: {} } }];
    data.headers.push({ key: 'contact', value: '<sip:forged@x>' }, { key: 'X-Forged', value: 'a\\r\\nX-More: b' }, { key: 'X-Id', value: true });
    data.remove_headers.push('VIA', 'm', 'X-Old');
    return data;
  }
  routing.egress_routing.reverse();
  routing.egress_routing[0].gw['8'].cli = '442008';
  routing.egress_routing[0].headers.push({ key: 'X-Row', value: 8 });
  routing.egress_routing[0].remove_headers.push('X-Old');
  data.headers.push({ key: 'X-Account', value: routing.account_id });
  return data;
}";

/// A running Kamailio; told to end when dropped, so that its children end with it.
struct Kamailio {
    child: Child,
    port: u16,
}

impl Kamailio {
    fn start(engine: &Engine, seven: &Phone, eight: &Phone) -> Self {
        let port = free_port();
        let text = |name: &str, value: String| format!("{name}=\"{value}\"");
        let address = |phone: &Phone| format!("sip:{}", phone.address(Protocol::Udp).expect("a phone listens on UDP"));
        let defines = [
            format!("LISTEN=udp:127.0.0.1:{port}"),
            text("ROUTE_URL", format!("http://{}/v1/route", engine.api())),
            text("CUSTOMER", "12".to_owned()),
            text("GATEWAY_7", address(seven)),
            text("GATEWAY_8", address(eight)),
        ];
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/kamailio/kamailio.cfg");
        let program = ["/usr/sbin/kamailio", "kamailio"].into_iter().find(|path| Path::new(path).is_file()).unwrap_or("kamailio");
        let child = Command::new(program)
            .args(["-DD", "-E", "-n", "2", "-m", "64", "-M", "8", "-f"])
            .arg(example)
            .arg("-Y")
            .arg(engine.folder())
            .args(defines.iter().flat_map(|define| ["-A", define]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("kamailio cannot be started ({error}): install it with `make peers`"));
        Self { child, port }
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn kamailio_asks_how_to_route_and_does_what_the_script_says() {
    let (mut seven, mut eight) = (phone("seven").await, phone("eight").await);
    let config = "[[gateway]]\nid = 7\naddress = \"sip:127.0.0.1:5097\"\n[[gateway]]\nid = 8\naddress = \"sip:127.0.0.1:5098\"\n\
                  [[customer]]\nid = 12\n[[route]]\nprefix = \"44\"\ngateways = [7, 8]\nscript = \"choose\"\ntimeout_s = 60\n";
    let engine = Engine::setup().config(config).script("choose.js", SCRIPT).start();
    let kamailio = Kamailio::start(&engine, &seven, &eight);
    let caller = phone("caller").await;
    let uri = |number: &str| format!("sip:{number}@127.0.0.1:{}", kamailio.port);

    let refusal = async {
        loop {
            let mut refused = caller.dial(&uri("44604"), Dial::default()).await.expect("it can be called");
            let ended = refused.ended().await;
            // Nobody listens yet.
            if ended.by != EndedBy::Network && ended.reason != "cannot be reached" {
                break ended;
            }
        }
    };
    let ended = within("a refusal", refusal).await;
    assert_eq!((ended.code, ended.reason.as_str()), (604, "Number on DNC List"));

    let mut refused = caller.dial(&uri("44603"), Dial::default()).await.expect("it can be called");
    let ended = within("a refusal", refused.ended()).await;
    assert_eq!((ended.code, ended.reason.as_str()), (603, "Decline"));

    let headers = vec![("X-Old".to_owned(), "1".to_owned())];
    let dial = Dial { from: Some("441".to_owned()), headers: headers.clone(), ..Dial::default() };
    let mut call = caller.dial(&uri("44999"), dial).await.expect("it can be called");
    for phone in [&mut seven, &mut eight] {
        let sent = incoming(phone).await;
        assert_eq!(sent.from().uri.user().as_deref(), Some("441"));
        let forged = ["X-Forged", "X-More", "X-Old"].map(|name| sent.header(name));
        assert_eq!((forged, sent.header("X-Id")), ([None; 3], Some("true")));
        assert!(sent.header("Contact").is_some_and(|contact| !contact.contains("forged")));
        sent.reject(503);
    }
    assert_eq!(within("the end", call.ended()).await.code, 502, "what the engine would say itself");

    let dial = Dial { from: Some("441".to_owned()), headers, ..Dial::default() };
    let mut call = caller.dial(&uri("442012"), dial).await.expect("it can be called");
    let first = incoming(&mut eight).await;
    assert_eq!(first.from().uri.user().as_deref(), Some("442008"));
    assert_eq!((first.header("X-Row"), first.header("X-Old"), first.header("X-Account")), (Some("8"), None, Some("12")));
    first.reject(503);
    let mut second = incoming(&mut seven).await;
    assert_eq!(second.from().uri.user().as_deref(), Some("441"));
    assert_eq!((second.header("X-Row"), second.header("X-Old"), second.header("X-Account")), (None, Some("1"), Some("12")));
    second.answer();
    within("an answer", call.answered()).await.expect("the call is up");
    within("an ACK", second.answered()).await.expect("the call is up");
    call.hangup();
    within("the end", second.ended()).await;
}
