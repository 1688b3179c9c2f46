use std::sync::Arc;

use lockstep_ctx_api::js;
use lockstep_ctx_api::wire::Bundle;

use super::*;

fn stripped(source: &str) -> String {
    let text = strip("a.ts", source).unwrap_or_else(|refused| panic!("{refused:?} in {source}"));
    assert_eq!(text.len(), source.len(), "every octet stays where it was: {text:?}");
    let breaks = |text: &str| -> Vec<usize> { text.match_indices(['\n', '\r', '\u{2028}']).map(|(at, _)| at).collect() };
    assert_eq!(breaks(&text), breaks(source), "every line stays where it was");
    let bundle =
        Bundle { entry: "a.ts".to_owned(), files: [("a.ts".to_owned(), Arc::from(text.as_str()))].into(), ..Bundle::default() };
    assert_eq!(js::check(&bundle), [], "what is left compiles: {text:?}");
    text
}

/// What is left, with one space for many.
fn left(source: &str) -> String {
    stripped(source).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn refusal(source: &str) -> String {
    let refused = strip("a.ts", source).expect_err("it cannot be erased");
    format!("{}: {}", refused.at, refused.message)
}

#[test]
fn javascript_is_left_as_it_is() {
    let source = "// @lockstep class5_destination=1000\nexport async function main(data, ctx) {\n\tconst a = b < c, d = (e > f);\n\tawait ctx.play(`x${a ? 'ü' : `y`}`);\n}\n";
    assert_eq!(stripped(source), source);
}

#[test]
fn annotations_become_spaces() {
    assert_eq!(stripped("let a: Map<string, number[]> = b;"), "let a                        = b;");
    assert_eq!(stripped("let größe: 'ä' | 'ö' = 'ä', n!: number;"), "let größe              = 'ä', n         ;");
    assert_eq!(left("function f<T extends object>(this: Ctx, a?: T, ...b: string[]): a is Y { }"), "function f ( a , ...b ) { }");
    assert_eq!(left("const f = async <T,>(a: T): Promise<T> => a;"), "const f = async (a ) => a;");
    assert_eq!(left("try { f() } catch (error: unknown) { }"), "try { f() } catch (error ) { }");
    assert_eq!(
        left("const { a, b }: { a: string; b: number } = c; for (const x of y as X[]) { }"),
        "const { a, b } = c; for (const x of y ) { }"
    );
    assert_eq!(left("function f({ a }: A = {}, [b]: B = []) { }"), "function f({ a } = {}, [b] = []) { }");
    assert_eq!(
        left("const o = { m<T>(a: T): void { }, get x(): number { return 1 } };"),
        "const o = { m (a ) { }, get x() { return 1 } };"
    );
}

#[test]
fn assertions_and_type_arguments_become_spaces() {
    assert_eq!(left("f<string>(a as unknown as B)!.c![d!] = new Map<string, X<Y>>();"), "f (a ) .c [d ] = new Map ();");
    assert_eq!(left("const a = { b: 1 } as const satisfies C, d = <D>e, g = h<i>;"), "const a = { b: 1 } , d = e, g = h ;");
    assert_eq!(left("const t = tag<A>`x`; const u = a?.b!.c;"), "const t = tag `x`; const u = a?.b .c;");
    assert_eq!(left("const v = () => (<V>{});"), "const v = () => ( {});");
}

#[test]
fn declarations_of_types_become_a_semicolon() {
    assert_eq!(left("interface A { b: string }\ntype C = A & { d: E };\nf();"), "; ; f();");
    assert_eq!(left("declare const a: string, b: number; declare function f(): void; declare class C { d: E }"), "; ; ;");
    assert_eq!(
        left("declare module 'x' { export enum E { A } } declare global { interface F { g: 1 } } declare namespace N { let a; }"),
        "; ; ;"
    );
    assert_eq!(
        left(
            "declare enum E { A } export declare const a: E; export interface I { } export type T = 1; export default interface J { }"
        ),
        "; ; ; ; ;"
    );
    assert_eq!(left("function f(a: string): void; function f(a: number): void; function f(a) { }"), "; ; function f(a) { }");
    assert_eq!(left("export function f(): void;\nexport function f() { }"), "; export function f() { }");
}

#[test]
fn lines_that_end_without_a_semicolon_stay_apart() {
    assert_eq!(left("const a = 1\ntype B = 2\n(c)()"), "const a = 1 ; (c)()");
    assert_eq!(left("const a = b as C\n(d)()"), "const a = b ; (d)()");
    assert_eq!(left("const a = b satisfies C // why\n[d] = e"), "const a = b ; // why [d] = e");
    assert_eq!(
        left("class A {\n  b = 1\n  private [c] = 2\n  get: string\n  d() { }\n}"),
        "class A { b = 1 ; [c] = 2 get; d() { } }"
    );
}

#[test]
fn an_arrow_stays_on_the_line_of_its_parameters() {
    assert_eq!(stripped("const f = (a)\n  : B => a;"), "const f = (a \n    ) => a;");
    assert_eq!(left("const f = (a):\n  { b: C } => a;"), "const f = (a ) => a;");
    assert_eq!(left("const f = async <\n  T\n>(a: T) => a;"), "const f = async ( a ) => a;");
}

#[test]
fn an_arrow_behind_a_word_that_ends_its_line_begins_on_that_line() {
    assert_eq!(
        stripped("function f() { return <\n  T extends object,\n>(a: T) => a; }"),
        "function f() { return (\n                   \n  a   ) => a; }"
    );
    assert_eq!(left("function* f() { yield <\n  T,\n>(a: T) => a; }"), "function* f() { yield ( a ) => a; }");
    assert_eq!(left("function f() { throw <\n  T,\n>() => 1; }"), "function f() { throw ( ) => 1; }");
}

#[test]
fn classes_lose_what_is_not_theirs_at_run_time() {
    let source = "export abstract class A<T> extends B<T> implements C<T>, D {
  declare a: string;
  public static readonly b?: number = 1;
  protected c!: string;
  private async *d?(e: T): AsyncGenerator<T> { }
  abstract f(): void;
  abstract g: string;
  [key: string]: unknown;
  override get h(): number { return 1 }
  constructor(i: string, j?: number);
  constructor(i) { super(); }
  readonly = 1;
}";
    assert_eq!(
        left(source),
        "export class A extends B { ; ; static b = 1; ; c ; ; ; async *d (e ) { } ; ; ; ; get h() { return 1 } ; constructor(i) { super(); } readonly = 1; }"
    );
    assert_eq!(left("const a = class implements B { };"), "const a = class { };");
}

#[test]
fn imports_and_exports_of_types_are_not_loaded() {
    assert_eq!(left("import type { A } from './a'; export type { B } from './b'; export type * from './c'; f();"), "; ; ; f();");
    assert_eq!(left("import { type A, b, type C } from './a'; b();"), "import { b, } from './a'; b();");
    assert_eq!(left("import { type A, type B } from './a'; f();"), "; f();");
    assert_eq!(left("type B = 1; const a = 1; export { a, type B };"), "; const a = 1; export { a, };");
    // As the compiler does, unless it is told otherwise: a name that only types use is no reason to load a module.
    assert_eq!(left("import { A, b } from './a'; b(c as A);"), "import { b } from './a'; b(c );");
    assert_eq!(left("import A from './a'; let b: A;"), "; let b ;");
    assert_eq!(
        left("import './a'; import { } from './b'; import c from './c';"),
        "import './a'; import { } from './b'; import c from './c';"
    );
}

#[test]
fn what_has_a_meaning_at_run_time_is_refused_at_its_place() {
    for (source, expected) in [
        ("f();\n  enum A { B }", "a.ts:2:3: enum A cannot be erased: write `const A = { … } as const`"),
        ("export const enum A { B }", "a.ts:1:8: enum A cannot be erased: write `const A = { … } as const`"),
        ("namespace A { export const b = 1 }", "a.ts:1:1: namespace A cannot be erased: write a module of its own"),
        (
            "class A {\n  constructor(private readonly b: C) { }\n}",
            "a.ts:2:15: a parameter property cannot be erased: declare the field and assign it in the constructor",
        ),
        ("import a = require('b');", "a.ts:1:1: `import … = …` cannot be erased: write `import … from '…'`"),
        ("export = 1;", "a.ts:1:1: `export =` cannot be erased: write `export default`"),
        ("const f = () => <A>{ };", "a.ts:1:17: a type assertion in angle brackets cannot be erased here: write `… as T`"),
        ("@a class B { }", "a.ts:1:1: decorators are not a part of JavaScript yet"),
    ] {
        assert_eq!(refusal(source), expected, "{source}");
    }
    let broken = refusal("f();\nlet a: = 1;");
    assert!(broken.starts_with("a.ts:2:8: SyntaxError: "), "{broken}");
}
