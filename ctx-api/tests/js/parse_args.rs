//! `util.parseArgs`, of the texts that stand in for Node's modules.

use crate::harness::Setup;

const FILES: [(&str, &str); 3] = [
    ("./errors.js", include_str!("../../../scripts/node/errors.js")),
    ("./parse_args.js", include_str!("../../../scripts/node/parse_args.js")),
    ("./util.js", include_str!("../../../scripts/node/util.js")),
];

/// What an expression comes to, with `parseArgs` at hand.
fn said(expression: &str) -> String {
    let mut source = "const files = { 'lockstep:host': (module) => { module.exports = { inspect: () => ({}) }; },\n".to_owned();
    for (name, text) in FILES {
        source += &format!("'{name}': (module, require) => {{ {text} }},\n");
    }
    source += "};
        const load = (name) => { const module = {}; files[name](module, load); return module.exports; };
        const { parseArgs } = load('./util.js');\n";
    source += &format!("function main() {{ return {expression}; }}");
    Setup::app(&source).start().result().to_owned()
}

const OPTIONS: &str = "{ all: { type: 'boolean', short: 'a' }, name: { type: 'string', short: 'n', default: 'x' }, list: { type: 'string', multiple: true } }";

#[test]
fn options_and_positionals_are_told_apart() {
    for (config, expected) in [
        ("args: ['-a', '--name', 'b']", r#"{"values":{"all":true,"name":"b"},"positionals":[]}"#),
        ("args: ['-anb', '--list=1', '--list', '2']", r#"{"values":{"all":true,"name":"b","list":["1","2"]},"positionals":[]}"#),
        ("args: ['-n=b']", r#"{"values":{"name":"=b"},"positionals":[]}"#),
        ("args: ['c', '--', '-a', '--'], allowPositionals: true", r#"{"values":{"name":"x"},"positionals":["c","-a","--"]}"#),
        ("args: ['--no-all'], allowNegative: true", r#"{"values":{"all":false,"name":"x"},"positionals":[]}"#),
        (
            "args: ['--other', '-z', '--all=1', '--name', '-'], strict: false",
            r#"{"values":{"other":true,"z":true,"all":"1","name":"-"},"positionals":[]}"#,
        ),
        ("args: ['--__proto__', 'd'], strict: false", r#"{"values":{"name":"x"},"positionals":["d"]}"#),
        ("", r#"{"values":{"name":"x"},"positionals":[]}"#),
    ] {
        assert_eq!(said(&format!("parseArgs({{ options: {OPTIONS}, {config} }})")), expected, "{config}");
    }
}

#[test]
fn a_letter_is_a_short_name_before_it_is_a_name() {
    for (options, args, expected) in [
        ("f: { type: 'string' }", "['-f', 'v']", r#"{"f":"v"}"#),
        ("f: { type: 'string' }, g: { type: 'boolean' }", "['-gfX']", r#"{"g":true,"f":"X"}"#),
        ("f: { type: 'string' }, all: { type: 'boolean', short: 'f' }", "['-f']", r#"{"all":true}"#),
        ("one: { type: 'boolean', short: 'f' }, two: { type: 'string', short: 'f' }", "['-f']", r#"{"one":true}"#),
    ] {
        assert_eq!(said(&format!("parseArgs({{ options: {{ {options} }}, args: {args} }}).values")), expected, "{args}");
    }
}

#[test]
fn tokens_say_where_they_stand() {
    let args = "['-an', 'b', '--list=1', '--', '-a']";
    let tokens = said(&format!(
        "parseArgs({{ args: {args}, options: {OPTIONS}, allowPositionals: true, tokens: true }}).tokens.map((token) => [token.index, token.kind, token.rawName ?? null, token.value ?? null, token.inlineValue ?? null])"
    ));
    let expected = r#"[[0,"option","-a",null,null],[0,"option","-n","b",false],[2,"option","--list","1",true],[3,"option-terminator",null,null,null],[4,"positional",null,"-a",null]]"#;
    assert_eq!(tokens, expected);
}

#[test]
fn what_the_options_do_not_allow_is_refused_as_node_does() {
    for (config, expected) in [
        ("args: ['-z']", "ERR_PARSE_ARGS_UNKNOWN_OPTION: Unknown option '-z'"),
        (
            "args: ['--zed'], allowPositionals: true",
            "ERR_PARSE_ARGS_UNKNOWN_OPTION: Unknown option '--zed'. To specify a positional argument starting with a '-', place it at the end of the command after '--', as in '-- \"--zed\"",
        ),
        ("args: ['--no-name'], allowNegative: true", "ERR_PARSE_ARGS_UNKNOWN_OPTION: Unknown option '--no-name'"),
        ("args: ['-n']", "ERR_PARSE_ARGS_INVALID_OPTION_VALUE: Option '-n, --name <value>' argument missing"),
        ("args: ['--all=1']", "ERR_PARSE_ARGS_INVALID_OPTION_VALUE: Option '-a, --all' does not take an argument"),
        (
            "args: ['-n', '-a']",
            "ERR_PARSE_ARGS_INVALID_OPTION_VALUE: Option '-n' argument is ambiguous.\nDid you forget to specify the option argument for '-n'?\nTo specify an option argument starting with a dash use '--name=-XYZ' or '-n-XYZ'.",
        ),
        (
            "args: ['b']",
            "ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL: Unexpected argument 'b'. This command does not take positional arguments",
        ),
        ("args: [], strict: 1", "ERR_INVALID_ARG_TYPE: The \"strict\" argument must be of type boolean. Received number"),
        (
            "args: [], options: { a: { type: 'string', short: 'ab' } }",
            "ERR_INVALID_ARG_VALUE: The property 'options.a.short' must be a single character. Received 'ab'",
        ),
    ] {
        let call = format!(
            "(() => {{ try {{ parseArgs({{ options: {OPTIONS}, {config} }}); }} catch (e) {{ return `${{e.code}}: ${{e.message}}`; }} }})()"
        );
        assert_eq!(serde_json::from_str::<String>(&said(&call)).expect("it is refused"), expected, "{config}");
    }
}
