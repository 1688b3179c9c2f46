//! Dates, numbers and texts as people read and order them.

use lockstep_ctx_api::wire::ScriptType;

use crate::harness::Setup;

/// Evaluates expressions that have `d`, Monday, 5 January 2026, 09:05:03 in local time, and `u`, the same in UTC.
fn assert_shown(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        let run =
            Setup::app(&format!("function main() {{ const d = new Date(2026, 0, 5, 9, 5, 3), u = new Date(Date.UTC(2026, 0, 5, 9, 5, 3)); return {expression} }}"))
                .start();
        let shown: String = serde_json::from_str(run.result()).unwrap_or_else(|_| run.result().to_owned());
        assert_eq!(shown, *expected, "{expression}");
    }
}

fn zones_are_known() -> bool {
    std::path::Path::new("/usr/share/zoneinfo/America/New_York").exists()
}

#[test]
fn dates_are_written_as_in_the_united_states_and_in_britain() {
    assert_shown(&[
        ("d.toLocaleString()", "1/5/2026, 9:05:03 AM"),
        ("d.toLocaleDateString()", "1/5/2026"),
        ("new Date(-6.5e13).toLocaleDateString('sv-SE')", "91-03-27"),
        ("d.toLocaleTimeString('en-US')", "9:05:03 AM"),
        ("d.toLocaleString('en-GB')", "05/01/2026, 09:05:03"),
        ("d.toLocaleDateString('en-US', { weekday: 'long' })", "Monday"),
        ("d.toLocaleDateString('en-US', { weekday: 'short', month: 'short', day: 'numeric' })", "Mon, Jan 5"),
        (
            "d.toLocaleDateString('en-GB', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' })",
            "Monday, 5 January 2026",
        ),
        ("d.toLocaleDateString('en-US', { year: 'numeric', month: '2-digit', day: '2-digit' })", "01/05/2026"),
        ("d.toLocaleDateString('en-CA')", "2026-01-05"),
        ("d.toLocaleString('sv-SE')", "2026-01-05 09:05:03"),
        ("d.toLocaleDateString('de-DE')", "5.1.2026"),
        ("d.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })", "09:05"),
        ("d.toLocaleTimeString('en-US', { hour: 'numeric', minute: '2-digit' })", "9:05 AM"),
        ("d.toLocaleString('en-US', { hour: 'numeric', hour12: false })", "09"),
        ("new Date(2026, 0, 5).toLocaleTimeString('en-US', { hourCycle: 'h23' })", "00:00:00"),
        ("d.toLocaleString('en-US', { dateStyle: 'full', timeStyle: 'short' })", "Monday, January 5, 2026 at 9:05 AM"),
        ("d.toLocaleString('en-GB', { dateStyle: 'medium' })", "5 Jan 2026"),
        ("new Date(NaN).toLocaleString()", "Invalid Date"),
        ("new Date(d.toLocaleString('en-US')).getTime() === d.getTime()", "true"),
    ]);
}

#[test]
fn dates_are_written_in_any_time_zone() {
    if zones_are_known() {
        assert_shown(&[
            ("u.toLocaleString('en-US', { timeZone: 'America/New_York' })", "1/5/2026, 4:05:03 AM"),
            (
                "u.toLocaleString('en-GB', { timeZone: 'Asia/Kolkata', weekday: 'short', hour: '2-digit', minute: '2-digit' })",
                "Mon 14:35",
            ),
            ("new Date(Date.UTC(2026, 6, 5, 23)).toLocaleDateString('en-GB', { timeZone: 'Europe/London' })", "06/07/2026"),
            ("u.toLocaleTimeString('en-US', { timeZone: 'America/New_York', timeZoneName: 'short' })", "4:05:03 AM EST"),
            ("u.toLocaleTimeString('en-US', { timeZone: 'Asia/Kolkata', timeStyle: 'long' })", "2:35:03 PM GMT+5:30"),
            ("new Date(8.64e15).toLocaleString('en-US', { timeZone: 'Asia/Kolkata' })", "9/13/275760, 5:30:00 AM"),
            (
                "new Date(Date.UTC(2026, 6, 5)).toLocaleDateString('en-GB', { timeZone: 'Europe/London', timeZoneName: 'short' })",
                "05/07/2026, BST",
            ),
        ]);
    }
    assert_shown(&[("d.toLocaleTimeString('en-US', { timeZoneName: 'short' })", "9:05:03 AM UTC")]);
    assert_shown(&[("u.toLocaleString('en-US', { timeZone: 'UTC' })", "1/5/2026, 9:05:03 AM")]);
}

#[test]
fn what_would_be_written_wrong_is_refused() {
    for (expression, message) in [
        ("d.toLocaleString('en-US', { timeZone: 'Nowhere/Land' })", "RangeError: Invalid time zone specified: Nowhere/Land"),
        ("d.toLocaleString('fr-FR')", "TypeError: the locale 'fr-FR' is not supported (docs/scripts.md)"),
        ("d.toLocaleString('no_locale')", "RangeError: Incorrect locale information provided"),
        (
            "d.toLocaleString('en-US', { timeZoneName: 'long' })",
            "TypeError: the option 'timeZoneName' is not supported (docs/scripts.md)",
        ),
        (
            "d.toLocaleString('en-US', { month: 'middle' })",
            "RangeError: Value middle out of range for option month: it is one of numeric, 2-digit, long, short, narrow",
        ),
        ("d.toLocaleDateString('en-US', { timeStyle: 'short' })", "TypeError: Invalid option : timeStyle"),
        (
            "(1).toLocaleString('en-US', { style: 'unit', unit: 'mile' })",
            "TypeError: the option 'unit' is not supported (docs/scripts.md)",
        ),
        ("(1).toLocaleString('en-US', { style: 'currency' })", "TypeError: Currency code is required with currency style."),
        (
            "'a'.localeCompare('b', 'en', { caseFirst: 'upper' })",
            "TypeError: the option 'caseFirst' is not supported (docs/scripts.md)",
        ),
        (
            "'a'.localeCompare('b', 'de-u-co-phonebk')",
            "TypeError: the locale 'de-u-co-phonebk' is not supported (docs/scripts.md)",
        ),
        ("'a'.localeCompare('b', 'xx-invalid-locale-zzzzzzzzz')", "RangeError: Incorrect locale information provided"),
    ] {
        let run = Setup::app(&format!("function main() {{ const d = new Date(0); return {expression} }}")).start();
        assert_eq!(run.error().message, message, "{expression}");
    }
}

#[test]
fn numbers_are_grouped_and_rounded() {
    assert_shown(&[
        ("(1234567.891).toLocaleString()", "1,234,567.891"),
        ("(1234.5).toLocaleString('en-US', { style: 'currency', currency: 'USD' })", "$1,234.50"),
        ("(-1234.5).toLocaleString('en-GB', { style: 'currency', currency: 'GBP', maximumFractionDigits: 0 })", "-£1,235"),
        ("(0.256).toLocaleString('en-US', { style: 'percent' })", "26%"),
        ("(1.005).toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })", "1.01"),
        ("(5).toLocaleString('en-US', { minimumIntegerDigits: 2 })", "05"),
        ("(1234.5).toLocaleString('de-DE')", "1.234,5"),
        ("(12345678901234567890n).toLocaleString('en-US')", "12,345,678,901,234,567,890"),
        ("(9.9996).toLocaleString()", "10"),
        ("[1234.5, 'x'].toLocaleString()", "1,234.5,x"),
        ("[1234.5, null, d].toLocaleString('de-DE')", "1.234,5,,5.1.2026, 09:05:03"),
    ]);
}

#[test]
fn texts_are_in_the_order_of_a_dictionary() {
    assert_shown(&[
        ("['z', 'ä', 'a', 'B', 'b', 'A', '1', '-'].sort((a, b) => a.localeCompare(b)).join('')", "-1aAäbBz"),
        (
            "['item 10', 'item 2', 'Item 1'].sort((a, b) => a.localeCompare(b, undefined, { numeric: true })).join()",
            "Item 1,item 2,item 10",
        ),
        ("'8946201000000000002'.localeCompare('8946201000000000001', 'en', { numeric: true })", "1"),
        ("['z', 'å', 'ä', 'a'].sort((a, b) => a.localeCompare(b, 'sv')).join('')", "azåä"),
        ("['z10', 'å', 'ä', 'z9'].sort((a, b) => a.localeCompare(b, ['de-AT-u-kn'])).join()", "å,ä,z9,z10"),
        ("''.localeCompare.call(5, '5')", "0"),
        (
            "['a'.localeCompare('A', 'en', { sensitivity: 'base' }), 'résumé'.localeCompare('Resume', 'en', { sensitivity: 'base' }), 'a'.localeCompare('a')].join()",
            "0,0,0",
        ),
    ]);
}

#[test]
fn a_phone_book_is_sorted_in_one_turn() {
    let source = "function main() {
        const names = Array.from({ length: 6000 }, (_, at) => `${(at * 7919) % 6000} Müller`);
        return names.sort((a, b) => a.localeCompare(b))[5999];
    }";
    assert_eq!(Setup::app(source).start().result(), r#""999 Müller""#);
}

#[test]
fn synchronous_scripts_have_it_run_after_run() {
    let source = "function main(data) { data.shown = [(1234).toLocaleString(), new Date(1970, 0, 1).toLocaleDateString('en-GB'), 'a'.localeCompare('B')]; return data }";
    let run = Setup::app(source).script_type(ScriptType::Script).start();
    assert_eq!(run.result(), r#"{"n":1,"shown":["1,234","01/01/1970",-1]}"#);
    run.assert_replays();
}
