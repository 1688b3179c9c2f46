//! `cxUserspace`

use crate::harness::{failure, result};

#[tokio::test]
async fn records_of_any_shape() {
    let source = "
        import userspace, { create, get, list } from 'cxUserspace';
        export async function main() {
            await create('dnc', '441', { since: 2024, by: 'x' });
            await create('dnc', 442, 'scalar');
            await create('dnc', '449', 7);
            await create('one', 'k', false);
            const updated = [await userspace.update('dnc', '441', [1]), await userspace.update('dnc', 'none', 1)];
            const read = [await get('dnc', '441'), await userspace.read('dnc', '442'), await get('dnc', '449'), await get('dnc', '0'), await userspace.random('one')];
            const listed = [await list('dnc', { prefix: 44, after: 441, limit: '1' }), (await list('dnc')).length, await list('none')];
            return { updated, read, listed, gone: [await userspace.delete('dnc', '441'), await userspace.delete('dnc', '441')], random: await userspace.random('none') };
        }";
    let expected = concat!(
        r#"{"updated":[[1],null],"read":[[1],"scalar",7,null,false],"#,
        r#""listed":[[{"key":"442","data":"scalar"}],3,[]],"gone":[true,false],"random":null}"#
    );
    assert_eq!(result(source).await, expected);
}

#[tokio::test]
async fn a_record_is_made_once() {
    let source = "const { create } = require('cxUserspace'); async function main() { await create('a', 'k', 1); await create('a', 'k', 2) }";
    assert_eq!(failure(source).await, "InvalidState: cxUserspace.create: 'k' exists in 'a'");
}

#[tokio::test]
async fn sql_with_parameters_dates_and_bytes() {
    let source = "
        const { sql } = require('cxUserspace');
        async function main() {
            await sql('CREATE TABLE calls (id INTEGER PRIMARY KEY, number TEXT, at TEXT, data BLOB, ok INTEGER)');
            const made = await sql('INSERT INTO calls (number, at, data, ok) VALUES (?, ?, ?, ?)', ['441', new Date(0), new Uint8Array([1, 255]), true]);
            await sql('INSERT INTO calls (number) VALUES ($number)', { number: \"4'42\" });
            const rows = await sql('SELECT number, at, ok, data FROM calls ORDER BY id');
            return [made, rows.map((row) => [row.number, row.at, row.ok, row.data && [...row.data]])];
        }";
    let expected = r#"[{"changes":1,"lastID":1},[["441","1970-01-01T00:00:00.000Z",1,[1,255]],["4'42",null,null,null]]]"#;
    assert_eq!(result(source).await, expected);
}

#[tokio::test]
async fn sql_that_is_wrong_says_what_the_database_says() {
    let failed = failure("const { sql } = require('cxUserspace'); module.exports = () => sql('SELEC 1')").await;
    assert!(failed.starts_with("DatabaseError: cxUserspace.sql: near \"SELEC\": syntax error"), "{failed}");
}
