//! Data whose members are made when they are touched: no script can tell.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::warm::Bench;
use lockstep_ctx_api::wire::ScriptType;

/// Does what the data asks, and tells what it sees. Words that would cost it the shared context are put together.
const INTERPRETER: &str = r#"
const define = Object['define' + 'Property'];
const isObject = (value) => typeof value === 'object' && value !== null;
const shown = (value) => (isObject(value) ? Object.keys(value) : value === undefined ? 'undefined' : value);

function at(root, path) {
  let node = root;
  for (const step of path) {
    if (!isObject(node)) return node;
    const keys = Object.keys(node);
    if (keys.length === 0) return node;
    const key = keys[step % keys.length];
    if (!isObject(node[key])) return node;
    node = node[key];
  }
  return node;
}

const ACTIONS = {
  keys: (o) => Object.keys(o),
  entries: (o) => Object.entries(o).map(([key, value]) => [key, shown(value)]),
  values: (o) => Object.values(o).length,
  own: (o) => Reflect.ownKeys(o).map(String),
  forIn: (o) => { const seen = []; for (const key in o) seen.push(key); return seen; },
  read: (o, key) => shown(o[key]),
  has: (o, key) => [key in o, Object.hasOwn(o, key), o.hasOwnProperty(key), o.propertyIsEnumerable(key)],
  set: (o, key, value) => { o[key] = value; return shown(o[key]); },
  change: (o) => { for (const key of Object.keys(o)) if (!isObject(o[key])) { o[key] = 'changed'; return key; } return null; },
  remove: (o, key) => [delete o[key], key in o],
  removeFirst: (o) => { const [key] = Object.keys(o); return key === undefined ? null : [delete o[key], key in o]; },
  descriptor: (o, key) => { const d = Object.getOwnPropertyDescriptor(o, key); return d && [d.writable, d.enumerable, d.configurable, 'get' in d, shown(d.value)]; },
  descriptors: (o) => Object.keys(Object.getOwnPropertyDescriptors(o)),
  print: (o) => JSON.stringify(o),
  pretty: (o) => JSON.stringify(o, null, 1),
  spread: (o, key) => { const copy = { ...o }; copy[key] = 1; return [JSON.stringify(copy), key in o]; },
  rest: (o) => { const { a, ...others } = o; return [shown(a), Object.keys(others)]; },
  assign: (o, key, value) => JSON.stringify(Object.assign({}, o, { [key]: value })),
  assignTo: (o, key, value) => JSON.stringify(Object.assign(o, { [key]: value, z: [value] })),
  clone: (o) => JSON.stringify(structuredClone(o)),
  same: (o) => Object.keys(o).every((key) => o[key] === o[key]),
  kind: (o) => [o instanceof Object, o instanceof Array, Array.isArray(o), Object.getPrototypeOf(o) === (Array.isArray(o) ? Array : Object)['proto' + 'type'], String(o), typeof o, o.constructor.name],
  toStringTag: (o) => ({}).toString.call(o),
  state: (o) => [Object.isFrozen(o), Object.isSealed(o), Object.isExtensible(o)],
  freeze: (o, key, value) => { Object.freeze(o); o[key] = value; return [Object.isFrozen(o), key in o, JSON.stringify(o)]; },
  seal: (o, key, value) => { Object.seal(o); o[key] = value; delete o.a; return [Object.isSealed(o), JSON.stringify(o)]; },
  close: (o, key, value) => { Object.preventExtensions(o); o[key] = value; return [Object.isExtensible(o), JSON.stringify(o)]; },
  define: (o, key, value) => { define(o, key, { value, configurable: true }); return [Object.keys(o), shown(o[key])]; },
  accessor: (o, key) => { define(o, key, { get: () => 'got', enumerable: true, configurable: true }); return JSON.stringify(o); },
  toJSON: (o, _, value) => { define(o, 'toJSON', { value: () => value, configurable: true }); return JSON.stringify(o); },
  inherit: (o, key) => { const child = Object.create(o); child.own = 1; const seen = []; for (const k in child) seen.push(k); return [shown(child[key]), key in child, seen]; },
  inheritSet: (o, key, value) => { const child = Object.create(o); child[key] = value; return [Object.keys(child), shown(o[key])]; },
  alias: (o, key, _, root) => { root['alias_' + key] = o; return Object.keys(root).length; },
  lend: (o, key, _, root) => { root[key] = [o, o]; return 2; },
  undefine: (o, key) => { o[key] = undefined; return key in o; },
  fn: (o, key) => { o[key] = () => 1; return typeof o[key]; },
  dated: (o, key) => { o[key] = new Date(0); return JSON.stringify(o); },
  circle: (o, key) => { o[key] = o; try { return JSON.stringify(o); } catch (error) { return String(error); } finally { delete o[key]; } },
  numbers: (o, key) => { o[key] = [NaN, -0, 1e21, 0.1, -1.5, 2 ** 31, Infinity]; return JSON.stringify(o[key]); },
  texts: (o, key) => { o[key] = ['\u0000"\\\n\u007fé한🙂', 'x'.repeat(300)].map(String); return JSON.stringify(o[key]); },
  push: (o, _, value) => (Array.isArray(o) ? [o.push(value, { value }), o.length] : null),
  pop: (o) => (Array.isArray(o) ? [shown(o.pop()), o.length] : null),
  reverse: (o) => (Array.isArray(o) ? o.reverse().length : null),
  filter: (o, key, _, root) => { if (Array.isArray(o)) root[key] = o.filter((_, index) => index % 2 === 0); return null; },
  sparse: (o) => { if (Array.isArray(o)) o[o.length + 1] = 1; return JSON.stringify(o); },
  length: (o) => (Array.isArray(o) ? [(o.length = 1), JSON.stringify(o)] : null),
  proxied: (o, key) => { const seen = []; const p = new Proxy(o, { get: (t, k, r) => { seen.push(String(k)); return Reflect.get(t, k, r); } }); void p[key]; return [Object.keys(p), seen]; },
  fromEntries: (o) => JSON.stringify(Object.fromEntries(Object.entries(o))),
  group: (o) => { let n = 0; JSON.stringify(o, (_, value) => { n += 1; return value; }); return n; },
};

function main(data) {
  const seen = data.todo.map(({ action, path, key, value }) => {
    try {
      const o = at(data.tree, path);
      // An array of four thousand million elements takes minutes to go through.
      const name = key === '4294967294' && (Array.isArray(o) || Array.isArray(data.tree)) ? '7' : key;
      return [action, ACTIONS[action](o, name, value, data.tree)];
    } catch (error) {
      return [action, String(error)];
    }
  });
  return data.whole ? { tree: data.tree, seen } : Object.assign(data, { seen });
}
"#;

const ACTIONS: &[&str] = &[
    "keys",
    "entries",
    "values",
    "own",
    "forIn",
    "read",
    "has",
    "set",
    "change",
    "remove",
    "removeFirst",
    "descriptor",
    "descriptors",
    "print",
    "pretty",
    "spread",
    "rest",
    "assign",
    "assignTo",
    "clone",
    "same",
    "kind",
    "toStringTag",
    "state",
    "freeze",
    "seal",
    "close",
    "define",
    "accessor",
    "toJSON",
    "inherit",
    "inheritSet",
    "alias",
    "lend",
    "undefine",
    "fn",
    "dated",
    "circle",
    "numbers",
    "texts",
    "push",
    "pop",
    "reverse",
    "filter",
    "sparse",
    "length",
    "proxied",
    "fromEntries",
    "group",
];

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "gw", "headers"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["7", "0", "10", "01", "4294967294", "4294967295", "-1"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["é", "Ã©", "한", "\"q\\", "\n", "", "length", "toString", "constructor"]).prop_map(str::to_owned),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec![0.5, -1.25, 1e20, 4_294_967_296.5, -0.1]).prop_map(Value::from),
        prop::sample::select(vec!["", "x", "441234567890", "a\"b\\c\n\u{1}", "é", "한🙂", "</script>"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 60, 6, |inner| {
        prop_oneof![
            2 => prop::collection::vec((key(), inner.clone()), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
            1 => prop::collection::vec(inner, 0..5).prop_map(Value::Array),
        ]
    })
}

fn todo() -> impl Strategy<Value = Value> {
    let value = prop_oneof![Just(json!(1)), Just(json!("v")), Just(json!({ "k": [1] })), Just(json!(null))];
    let one = (prop::sample::select(ACTIONS), prop::collection::vec(0_u32..6, 0..5), key(), value)
        .prop_map(|(action, path, key, value)| json!({ "action": action, "path": path, "key": key, "value": value }));
    prop::collection::vec(one, 0..8).prop_map(Value::Array)
}

/// As a script of its own runtime sees it, whose data is converted at once.
fn eager(source: &str) -> Bench {
    let mut bench = Bench::new(source);
    bench.header.script_type = ScriptType::App;
    bench
}

/// The result, or the text of an error.
fn parsed(result: &str) -> Value {
    serde_json::from_str(result).unwrap_or_else(|_| result.into())
}

/// Text past the size below which data is converted at once.
fn padded(mut data: Value) -> String {
    data["padding"] = json!("x".repeat(256));
    data.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn no_script_can_tell(runs in prop::collection::vec((tree(), todo(), any::<bool>()), 1..4)) {
        let (mut shared, mut own) = (Bench::new(INTERPRETER), eager(INTERPRETER));
        for (tree, todo, whole) in runs {
            let data = padded(json!({ "tree": { "t": tree, "u": [1, { "a": { "b": "c" } }] }, "todo": todo, "whole": whole }));
            let (lazy, eager) = (shared.run(&data), own.run(&data));
            prop_assert_eq!(parsed(&lazy), parsed(&eager), "{}", data);
        }
    }
}

#[test]
fn every_action_is_the_same_on_an_object_that_nobody_has_touched() {
    let (mut shared, mut own) = (Bench::new(INTERPRETER), eager(INTERPRETER));
    for action in ACTIONS {
        for key in ["a", "10"] {
            for path in [json!([0]), json!([1]), json!([2])] {
                let tree = json!({ "o": { "b": 1, "a": { "x": [1, { "y": "z" }] }, "gw": "s", "10": 1, "7": {} }, "l": [1, { "a": 1 }], "e": {} });
                let step = json!({ "action": action, "path": path, "key": key, "value": { "v": 1 } });
                let data = json!({ "tree": tree, "todo": [step], "whole": true });
                for data in [data.to_string(), padded(data)] {
                    assert_eq!(parsed(&shared.run(&data)), parsed(&own.run(&data)), "{action} {key} {path}");
                }
            }
        }
    }
}

#[test]
fn what_a_script_leaves_alone_goes_back_as_it_came() {
    let mut bench = Bench::new("function main(data) { data.change.me = 'x'; data.list.push(1); delete data.gone; return data }");
    let pad = "y".repeat(256);
    let kept = format!(r#""kept" : {{ "big":12345678901234567890, "one": 1.0,"pad":"{pad}" }}"#);
    let data = format!(r#"{{ {kept}, "change":{{"a" : 1e2, "me":1}}, "gone":1, "list":[ 2.50 ] }}"#);
    assert_eq!(bench.run(&data), format!(r#"{{"kept":{},"change":{{"a" : 1e2,"me":"x"}},"list":[2.5,1]}}"#, &kept[9..]));
}

#[test]
fn what_a_script_assigns_stands_among_what_it_left_alone() {
    let pad = "y".repeat(256);
    let data = format!(r#"{{"o":{{"one" : 1.0,"b":{{"x" : 1}},"a":[ 1 ],"c":"s"}},"pad":"{pad}"}}"#);
    for (source, result) in [
        ("data.o.c = 't'", r#"{"one" : 1.0,"b":{"x" : 1},"a":[ 1 ],"c":"t"}"#),
        ("data.o.c = 's'; data.o.z = 1; data.o.b.x = 2", r#"{"one" : 1.0,"b":{"x":2},"a":[ 1 ],"c":"s","z":1}"#),
        ("data.o.a; data.o.one = data.o.one; data.o['\\n'] = 1", r#"{"one":1,"b":{"x" : 1},"a":[1],"c":"s","\n":1}"#),
        ("data.o.b = undefined; data.o.z = 1; data.o.z = undefined", r#"{"one" : 1.0,"a":[ 1 ],"c":"s"}"#),
        ("data.o.z = 1; data.o[5] = 1", r#"{"5":1,"one":1,"b":{"x" : 1},"a":[1],"c":"s","z":1}"#),
        ("data.o.z = 1; delete data.o.c; data.o[Symbol.for('x')] = 1", r#"{"one":1,"b":{"x" : 1},"a":[1],"z":1}"#),
        ("data.o.z = data.o; delete data.o.z; data.o.b = data.o.b.x", r#"{"one":1,"b":1,"a":[1],"c":"s"}"#),
    ] {
        let mut bench = Bench::new(&format!("function main(data) {{ {source}; return data.o }}"));
        assert_eq!([bench.run(&data), bench.run(&data)], [result, result], "{source}");
    }
}

#[test]
fn array_indexes_come_first_once_an_object_is_touched() {
    let pad = "y".repeat(256);
    for (text, result) in [
        (r#"{"b":1,"10":2,"9":3}"#, r#"{"9":3,"10":2,"b":1}"#),
        (r#"{"b":1,"4294967294":2}"#, r#"{"4294967294":2,"b":1}"#),
        (r#"{"b":1,"\u0039":2}"#, r#"{"9":2,"b":1}"#),
        (r#"{"9":1,"10":2,"b" : 3}"#, r#"{"9":1,"10":2,"b" : 3}"#),
    ] {
        let data = format!(r#"{{"o":{text},"pad":"{pad}"}}"#);
        let mut bench = Bench::new("function main(data) { data.o.z; return data.o }");
        assert_eq!(bench.run(&data), result, "{text}");
    }
}

#[test]
fn objects_of_many_members_are_like_those_of_few() {
    let members: Vec<String> = (0..5_000).map(|member| format!(r#""k{member}":{member}"#)).collect();
    let data = format!("{{{}}}", members.join(","));
    let source = "function main(data) { let sum = 0; for (const key of Object.keys(data)) sum += data[key]; \
                  for (let i = 0; i < 5000; i += 1) data['n' + i] = i; data.k4999 = 0; return [sum, data.n4999, Object.keys(data).length, data] }";
    let result = Bench::new(source).run(&data);
    assert!(result.starts_with(r#"[12497500,4999,10000,{"k0":0,"k1":1,"#) && result.ends_with(r#""n4998":4998,"n4999":4999}]"#));
}

#[test]
fn of_two_members_of_one_name_the_later_counts() {
    let pad = "y".repeat(256);
    let data = format!(r#"{{"o":{{"a":1,"b":{{}},"a":2}},"p":{{"a":{{"x":1}},"a":3}},"pad":"{pad}"}}"#);
    for (source, result) in [
        ("function main(data) { return [Object.keys(data.o), data.o.a, data.o] }", r#"[["a","b"],2,{"a":2,"b":{}}]"#),
        ("function main(data) { data.o.c = 1; return data.o }", r#"{"a":2,"b":{},"c":1}"#),
        ("function main(data) { data.p.a; return data.p }", r#"{"a":3}"#),
    ] {
        assert_eq!(Bench::new(source).run(&data), result, "{source}");
    }
}

#[test]
fn halves_of_surrogate_pairs_are_kept_within_the_script_and_replaced_in_its_result() {
    let pad = "y".repeat(256);
    let data = format!(r#"{{"half":"\ud800x","o":{{"half":"\udfff"}},"pad":"{pad}"}}"#);
    let mut bench = Bench::new("function main({ half, o }) { return [half, half.charCodeAt(0), o, { o: o.half }] }");
    assert_eq!(bench.run(&data), r#"["\ufffdx",55296,{"half":"\ufffd"},{"o":"\ufffd"}]"#);
}

#[test]
fn data_that_is_no_json_is_refused_as_ever() {
    let pad = "y".repeat(256);
    let mut bench = Bench::new("function main(data) { return data }");
    for broken in [format!(r#"{{"a":01,"b":"{pad}"}}"#), format!(r#"["{pad}""#)] {
        assert!(bench.run(&broken).contains("SyntaxError"), "{}", bench.run(&broken));
    }
    let deep = "[".repeat(300) + &"]".repeat(300);
    assert_eq!(bench.run(&deep), deep);
}

#[test]
fn the_data_of_one_run_is_nothing_to_the_next() {
    let pad = "y".repeat(256);
    let source = "function main(data) { const first = data.rows.map((row) => row.id); data.rows[0].self = data; data.self = data.rows; delete data.self; delete data.rows[0].self; return first }";
    let mut bench = Bench::new(source);
    for run in 0..50 {
        let data = json!({ "rows": [{ "id": run }, { "id": run + 1 }], "pad": pad }).to_string();
        assert_eq!(bench.run(&data), format!("[{run},{}]", run + 1));
    }
}

#[test]
fn circles_through_the_data_are_collected() {
    let pad = "y".repeat(64 << 10);
    let mut bench = Bench::new("function main(data) { data.o.back = data; data.o.list.push(data.o, data); return data.o.n }");
    // Far more together than the run may hold: without collection the context would be given up, and the runs after it refused.
    for run in 0..1_000 {
        let data = json!({ "o": { "n": run, "list": [{}] }, "pad": pad }).to_string();
        assert_eq!(bench.run(&data), run.to_string());
    }
}
