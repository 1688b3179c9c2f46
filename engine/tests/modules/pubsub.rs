//! `cxPubSub`

use crate::harness::{Scripts, failure, result};

#[tokio::test]
async fn a_run_hears_what_others_publish_until_it_unsubscribes() {
    let listener = "
        import { subscribe, publish } from 'cxPubSub';
        export function main() {
            return new Promise((resolve) => {
                const heard = [];
                const all = subscribe('t', (payload, id, topic) => heard.push([topic, id, payload]));
                subscribe('t', '7', async (payload) => {
                    await all.unsubscribe();
                    await publish('t', 'after');
                    resolve([heard, payload]);
                });
                publish('ready', null);
            });
        }";
    let speaker = "
        const { subscribe, publish } = require('cxPubSub');
        async function main() {
            await new Promise((resolve) => { subscribe('ready', resolve) });
            return [await publish('t', { a: 1 }), await publish('t', 8, 'eight'), await publish('t', '7', 'seven'), await publish('nobody', 1)];
        }";
    let scripts = Scripts::new(&[("speaker", speaker), ("listener", listener)]);
    let (spoken, heard) = futures_util::join!(scripts.run("speaker", "{}"), scripts.run("listener", "{}"));
    assert_eq!(spoken.unwrap(), "[1,1,2,0]");
    assert_eq!(heard.unwrap(), r#"[[["t",null,{"a":1}],["t","8","eight"],["t","7","seven"]],"seven"]"#);
}

#[tokio::test]
async fn a_subscription_keeps_no_run_alive() {
    let source = "const { subscribe } = require('cxPubSub'); function main(data) { subscribe('t', () => {}); data.n = 1 }";
    assert_eq!(result(source).await, r#"{"n":1}"#);
}

#[tokio::test]
async fn an_error_in_a_listener_fails_the_run_at_its_line() {
    let source = "
        const { subscribe, publish } = require('cxPubSub');
        async function main() { subscribe('t', () => { throw new Error('no') }); await publish('t', 1); await new Promise(() => {}) }";
    assert_eq!(failure(source).await, "Error: no");
}

#[tokio::test]
async fn mistakes_are_named() {
    let main =
        |call: &str| format!("const {{ publish, subscribe }} = require('cxPubSub'); async function main() {{ return {call} }}");
    for (call, message) in [
        ("publish('', 1)", "RangeError: pubsub.publish: a topic or id must have 1 to 256 bytes, got 0"),
        ("publish('t', () => 1)", "TypeError: cxPubSub.publish: the payload cannot be written as JSON, got function"),
        ("publish('t', 'x'.repeat(262144))", "LimitError: pubsub.publish: a payload may have 262144 bytes, got 262146"),
        ("subscribe('t')", "TypeError: cxPubSub.subscribe: the last argument must be a function"),
    ] {
        assert_eq!(failure(&main(call)).await, message, "{call}");
    }
}
