//! `cxKV`

use crate::harness::{Scripts, failure, result};

#[tokio::test]
async fn texts_objects_and_counters() {
    let source = "
        const { kv, ko, incr, keys, usage } = require('cxKV');
        async function main() {
            const before = [await kv.get('a'), await ko.get('a'), await kv.del('a')];
            await kv.set('a', 'one'); await kv.set('n', 41); await kv.set('o', { z: 1, a: 2 });
            await ko.set('a', { z: [1, null], a: 'é' });
            const counted = [await incr('n'), await incr('n', -2.5), await incr('new', 3)];
            const object = await ko.get('a');
            const after = [await kv.get('a'), await kv.get('o'), object, Object.keys(object).join(), await kv.get('n')];
            return { before, counted, after, keys: [await keys(), await keys('n')], usage: (await usage()).keys, gone: [await kv.del('a'), await kv.get('a')] };
        }";
    let expected = concat!(
        r#"{"before":[null,null,false],"counted":[42,39.5,3],"#,
        r#""after":["one","{\"z\":1,\"a\":2}",{"z":[1,null],"a":"é"},"z,a","39.5"],"#,
        r#""keys":[["a","n","new","o"],["n","new"]],"usage":5,"gone":[true,null]}"#
    );
    assert_eq!(result(source).await, expected);
}

#[tokio::test]
async fn what_was_not_awaited_still_happens_and_in_order() {
    let source = "
        const { kv, incr } = require('cxKV');
        async function main() {
            kv.set('a', '1'); incr('a', 10); kv.set('b', 'x');
            const seen = [await kv.get('a'), await kv.get('b')];
            kv.set('last', 'word');
            return seen;
        }";
    let scripts =
        Scripts::new(&[("main", source), ("after", "const { kv } = require('cxKV'); module.exports = () => kv.get('last')")]);
    assert_eq!(scripts.run("main", "{}").await.unwrap(), r#"["11","x"]"#);
    assert_eq!(scripts.run("after", "{}").await.unwrap(), "\"word\"");
}

#[tokio::test]
async fn many_runs_count_together() {
    let source = "import { incr } from 'cxKV'; export async function main() { for (let i = 0; i < 20; i++) await incr('n') }";
    let scripts = Scripts::new(&[("main", source), ("read", "import { kv } from 'cxKV'; export default () => kv.get('n')")]);
    let runs = (0..10).map(|_| scripts.run("main", "{}"));
    assert!(futures_util::future::join_all(runs).await.into_iter().all(|run| run.is_ok()));
    assert_eq!(scripts.run("read", "{}").await.unwrap(), "\"200\"");
}

#[tokio::test]
async fn no_time_to_live_is_written_in_many_ways() {
    let source = "
        const { kv, incr } = require('cxKV');
        async function main() {
            for (const none of [0, '0', '', false, null]) await kv.set('k', 'x', none);
            await kv.set('soon', 'x', '60');
            return [await kv.get('k'), await incr('n', 1, '0')];
        }";
    assert_eq!(result(source).await, r#"["x",1]"#);
}

#[tokio::test]
async fn mistakes_are_named() {
    let main = |call: &str| {
        format!("const {{ kv, ko, incr }} = require('cxKV'); async function main() {{ await kv.set('t', 'x'); return {call} }}")
    };
    for (call, message) in [
        ("kv.get()", "TypeError: kv.get: the key must be a string, got undefined"),
        ("kv.set('a')", "TypeError: kv.set: the value must be a string, got undefined"),
        ("kv.set('', 'x')", "RangeError: kv.set: a key must have 1 to 512 bytes, got 0"),
        ("kv.set('a', 'x', -1)", "RangeError: kv.set: the time to live must be a number of seconds of 0 or more, got -1"),
        ("kv.set('a', 'x'.repeat(1048577))", "LimitError: kv.set: a value may have 1048576 bytes, got 1048577"),
        ("incr('t')", "TypeError: kv.incr: 't' does not hold a number"),
        ("incr('n', null)", "TypeError: incr: the step must be a number, got null"),
        ("incr('n', 'x')", "TypeError: incr: the step must be a number, got x"),
        ("ko.set('a', () => 1)", "TypeError: ko.set: the value cannot be written as JSON, got function"),
    ] {
        assert_eq!(failure(&main(call)).await, message, "{call}");
    }
}
