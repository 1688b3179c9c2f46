//! `cxUserspace.knex`: the query builder on the account's own database.

use serde_json::json;

use crate::harness::run;

#[tokio::test]
async fn knex_makes_tables_fills_and_asks_them() {
    let source = r#"
        import { knex, sql } from 'cxUserspace';
        export async function main() {
          await knex('main').schema.createTable('calls', (table) => {
            table.increments('id');
            table.string('number').notNullable();
            table.integer('seconds').defaultTo(0);
          });
          const ids = await knex('main', 'calls').insert({ number: '441', seconds: 30 });
          await knex('main', 'calls').insert([{ number: '442', seconds: 5 }, { number: "4'43", seconds: 60 }]);
          const changed = await knex('main', 'calls').where('seconds', '<', 10).update({ seconds: 10 });
          const rows = await knex('main', 'calls').select('number', 'seconds').where('seconds', '>=', 30).orderBy('seconds', 'desc');
          const first = await knex('main', 'calls').where({ number: '442' }).first();
          const total = await knex('main', 'calls').sum({ total: 'seconds' });
          const gone = await knex('main', 'calls').whereIn('number', ['441']).del();
          const left = await sql('SELECT count(*) AS n FROM calls');
          return { ids, changed, rows, first, total, gone, left, text: knex('main', 'calls').where({ id: 1 }).toString() };
        }"#;
    let expected = json!({
        "ids": [1], "changed": 1,
        "rows": [{ "number": "4'43", "seconds": 60 }, { "number": "441", "seconds": 30 }],
        "first": { "id": 2, "number": "442", "seconds": 10 },
        "total": [{ "total": 100 }], "gone": 1, "left": [{ "n": 2 }],
        "text": "select * from `calls` where `id` = 1",
    });
    assert_eq!(run(source, json!({})).await.value(), expected);
}

#[tokio::test]
async fn what_the_database_refuses_rejects_the_query() {
    let source = r#"
        const { knex } = require('cxUserspace');
        const failed = (query) => query.then(() => 'no error', (error) => error.name);
        async function main() {
          return [await failed(knex('main', 'nowhere').select()), await failed(knex('main').transaction(async (t) => t('x').select()))];
        }"#;
    assert_eq!(run(source, json!({})).await.value(), json!(["DatabaseError", "DatabaseError"]));
}
